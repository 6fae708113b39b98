"""A batch: many calls that nobody waits for, at half their price. The rules, and what its caller is shown of it.

    creating ──> in_progress ──> ended        of a batch: `ended` is when every request has
                   └──> canceling ──┘
    waiting ──> running ──> succeeded         of a request: its charge is settled
      │  └───<────┘ └─────> errored           an error, an upstream that could not serve it in all its tries
      └──> canceled | expired                 it had not begun: its charge is released, as with `errored`

A request's charge is held from the beginning and ends with the request. What it costs is half of usage × price, rounded
down once, to the whole nanodollar: a caller is never charged more than half.
"""

import enum
from typing import Any, Final

import msgspec

from faregate.core.errors import GatewayError
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.core.shown import moment
from faregate.wire.usage import Usage

DAY_MS: Final = 86_400_000
LIFE_MS: Final = DAY_MS
"""What has not begun by then does not begin any more."""
KEPT_MS: Final = 29 * DAY_MS
"""For how long results can be read, from the day on which the batch was made."""

TRIES_MAX: Final = 5
"""How often a request is brought to the upstreams, each time through the whole retry envelope."""
CRASHES_MAX: Final = 3
"""How often its runner may go away before a request is held to be the cause of it."""
PAUSE_MS: Final = 5_000
"""Before the second try; each further one waits four times as long: 5 s, 20 s, 80 s, 320 s."""
OUTAGE_PAUSE_MS: Final = 60_000
"""Between two tries while none of the model's upstreams is up: these are not counted."""
OUTAGE_REST_S: Final = 5.0
"""And for how long the place of who met it is left empty: ten thousand that wait would else ask and write all day."""


class BatchState(enum.StrEnum):
    CREATING = "creating"
    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"


class RequestState(enum.StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as its wallet may see it; its times are Unix milliseconds."""

    wallet_id: str
    id: str
    state: BatchState
    total: int
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0
    created_at_ms: int
    expires_at_ms: int
    cancel_at_ms: int | None = None
    ended_at_ms: int | None = None
    archived_at_ms: int | None = None


class Halved(PriceVersion, frozen=True, kw_only=True):
    """A price version as a batch pays it."""

    def cost(self, usage: Usage) -> Nanos:
        """Half of what the usage costs, exactly, and then rounded down: once for a whole charge."""
        return half(super().cost(usage))

    def whole(self, usage: Usage) -> Nanos:
        """What upstream bills for it, who knows of no batch: what is lost is lost at this."""
        return super().cost(usage)


def half(nanos: int) -> Nanos:
    """Half an amount, rounded down."""
    return Nanos(nanos // 2)


def whole(estimated: int) -> Nanos:
    """What upstream probably bills for what a batch would pay so much for."""
    return Nanos(2 * estimated)


def halved(price: PriceVersion) -> Halved:
    """The price that a batch pays."""
    return Halved(**msgspec.structs.asdict(price))


def pause_ms(tries: int) -> int:
    """How long a request waits after it could not be served for the `tries`-th time."""
    return PAUSE_MS << 2 * (max(1, tries) - 1)


def view(batch: Batch, base_url: str) -> dict[str, Any]:
    """A batch in the shape of the provider's SDK. Until all of it has ended every request is `processing`."""
    ended = batch.state is BatchState.ENDED
    readable = ended and batch.archived_at_ms is None
    counts = ("succeeded", "errored", "canceled", "expired")
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": batch.state.value,
        "request_counts": {
            "processing": 0 if ended else batch.total,
            **{name: getattr(batch, name) if ended else 0 for name in counts},
        },
        "created_at": moment(batch.created_at_ms),
        "expires_at": moment(batch.expires_at_ms),
        "ended_at": _moment(batch.ended_at_ms),
        "cancel_initiated_at": _moment(batch.cancel_at_ms),
        "archived_at": _moment(batch.archived_at_ms),
        "results_url": f"{base_url}/v1/messages/batches/{batch.id}/results" if readable else None,
    }


def _moment(ms: int | None) -> Any:
    return None if ms is None else moment(ms)


def succeeded(body: bytes) -> bytes:
    """A message as a result: on one line, and by its usage of the tier that it was billed by."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    usage = msgspec.json.decode(fields.get("usage", b"{}"))
    fields["usage"] = msgspec.Raw(
        msgspec.json.encode({**(usage if type(usage) is dict else {}), "service_tier": "batch"})
    )
    return msgspec.json.format(msgspec.json.encode(fields), indent=-1)


def errored(error: GatewayError, request_id: str) -> bytes:
    """An error as a result: the envelope that its call would have been answered with."""
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {
                "type": error.kind,
                "message": error.message,
                "details": {**error.details, "error_code": error.code},
            },
            "request_id": request_id,
        }
    )


def line(custom_id: str, state: RequestState, result: bytes | None) -> bytes:
    """One line of the results."""
    told: dict[str, Any] = {"type": state.value}
    if state is RequestState.SUCCEEDED:
        told["message"] = msgspec.Raw(result or b"null")
    elif state is RequestState.ERRORED:
        told["error"] = msgspec.Raw(result or b"null")
    return msgspec.json.encode({"custom_id": custom_id, "result": told}) + b"\n"


def within(error: GatewayError, number: int) -> GatewayError:
    """What was wrong with one request of a batch, said of the batch: its path begins with that request's."""
    path = f"requests.{number}.params"
    parameter = error.details.get("parameter")
    is_path = parameter is not None or error.code in ("model_not_found", "model_not_in_scope")
    details = dict(error.details)
    if isinstance(parameter, str):
        details["parameter"] = f"{path}.{parameter}"
    message = f"{path}.{error.message}" if is_path else f"{path}: {error.message}"
    return type(error)(
        message,
        code=error.code,
        details=details,
        retry_after_s=error.retry_after_s,
        should_retry=error.should_retry,
        headers=error.headers,
    )
