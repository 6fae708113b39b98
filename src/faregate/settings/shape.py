"""Every setting there is: its name, type, bounds, default, and the sentence that the reference page prints.

The rule: a setting that is not here does not exist, and one that is here is used. Secrets are never settings; a
setting names the environment variable that holds one.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from faregate.core.money import Nanos, parse_credits
from faregate.settings.routing import Breaker, Cost, Retry, Route
from faregate.settings.upstream import UpstreamEntry

UNLIMITED = "unlimited"
"""The word for a limit that is none."""


class Secret(msgspec.Struct, frozen=True):
    """A value that no repr, log or error shows. `reveal` it where it is sent, and nowhere else."""

    value: str

    def reveal(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return "Secret('********')"

    __str__ = __repr__

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("value", "********")]


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener for callers."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on. `0.0.0.0` or `::` for every one.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 lets the system choose one.")] = 8080
    node: Annotated[
        str,
        Meta(
            max_length=200,
            description="Name of this replica on PostgreSQL, no other one has it; `host:port` when left empty.",
        ),
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="CIDRs of proxies in front of the gateway: only from these is `x-forwarded-for` believed."),
    ] = ()
    calls_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Calls under way at once, of all keys together; one more is answered 503.",
        ),
    ] = 10_000
    body_bytes_max: Annotated[
        int, Meta(ge=1024, le=2**30, description="Largest request body, in bytes; a larger one is answered 413.")
    ] = 32 * 1024 * 1024
    body_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds in which a request body must have come, or it is answered 408.")
    ] = 60.0
    drain_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds for which the first SIGTERM or SIGINT lets calls under way go on; what has not ended "
            "by then is cut off, free of charge. What kills the process must wait longer.",
        ),
    ] = 60.0


class Admin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The control listener. It exists only where a token is set; the owner's socket in FAREGATE_HOME needs none."""

    host: Annotated[str, Meta(min_length=1, description="Address of the admin API.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the admin API; 0 lets the system choose one.")] = (
        8081
    )
    token_env: Annotated[
        str,
        Meta(min_length=1, description="Environment variable that holds the admin token. Unset: no admin listener."),
    ] = "FAREGATE_ADMIN_TOKEN"  # noqa: S105  # the name of a variable, not a token


class Database(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the ledger is kept."""

    url: Annotated[
        str,
        Meta(
            description="`sqlite:///faregate.db` is a file in FAREGATE_HOME, `sqlite:////var/lib/faregate.db` (four "
            "slashes) an absolute path; `postgresql://user:password@host/name` a database that replicas share."
        ),
    ] = "sqlite:///faregate.db"


class CatalogFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of models beside what is shipped."""

    files: Annotated[
        tuple[str, ...],
        Meta(description="Catalog files of your own, added to the shipped one; relative to the settings file."),
    ] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every key is held to, beside its own limits."""

    abandon_budget: Annotated[
        str,
        Meta(
            description="Credits an hour that the callers of one key may cost the operator by hanging up before they "
            "are billed; then the key is answered 429 until that hour is over. `0`: one such call is enough. "
            "`unlimited`: never."
        ),
    ] = "1000000"

    @property
    def abandon_nanos(self) -> Nanos | None:
        """The budget in nanodollars, None where there is none. Raises ValueError, with a sentence for the reader."""
        if self.abandon_budget == UNLIMITED:
            return None
        budget = parse_credits(self.abandon_budget)
        if budget < 0:
            raise ValueError(f"{self.abandon_budget!r} is below 0")
        return budget


class Idempotency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a repeat with the same `Idempotency-Key` is answered once its call is done: 409 with the receipt, or the
    answer itself, which is then kept in the ledger's database."""

    keep_answers_s: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds for which the answer of a call with an `Idempotency-Key` is kept, to be given again "
            "to who repeats it. 0: no answer is ever stored, and none is given again.",
        ),
    ] = 0
    answer_bytes_max: Annotated[
        int,
        Meta(
            ge=1024,
            le=8 * 1024 * 1024,
            description="Largest answer that is kept, in bytes; a repeat of a call with a larger one is answered 409 "
            "with its receipt.",
        ),
    ] = 1024 * 1024


class Batches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`/v1/messages/batches`: calls that nobody waits for, at half price, from a queue in the ledger's database."""

    concurrency: Annotated[
        int,
        Meta(ge=0, le=64, description="Requests of batches that this gateway runs at once, beside the calls; 0: none."),
    ] = 4
    body_bytes_max: Annotated[
        int,
        Meta(ge=1024, le=2**30, description="Largest body of a batch, in bytes. It takes up to thrice that in memory."),
    ] = 256 * 1024 * 1024
    waiting_max: Annotated[
        int,
        Meta(ge=1, le=10**7, description="Requests that a wallet may have waiting; a batch beyond is answered 429."),
    ] = 100_000
    waiting_bytes_max: Annotated[
        int,
        Meta(
            ge=1024,
            le=2**40,
            description="Bytes that the requests which a wallet has waiting may take on the database's disk; a batch "
            "beyond is answered 429.",
        ),
    ] = 1024 * 1024 * 1024
    public_url: Annotated[
        str,
        Meta(
            description="Where callers reach this gateway, as `https://gate.example.com`: what `results_url` begins "
            "with. Left empty it is taken from the request's own `host`, and from `x-forwarded-proto`."
        ),
    ] = ""


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log, on standard error."""

    format: Annotated[
        Literal["auto", "human", "json"],
        Meta(description="`auto` is lines for people on a terminal, and JSON everywhere else."),
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="`info` has one line for each request.")
    ] = "info"


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    server: Server = Server()
    admin: Admin = Admin()
    database: Database = Database()
    upstreams: tuple[UpstreamEntry, ...] = ()
    routes: tuple[Route, ...] = ()
    costs: tuple[Cost, ...] = ()
    catalog: CatalogFiles = CatalogFiles()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    limits: Limits = Limits()
    idempotency: Idempotency = Idempotency()
    batches: Batches = Batches()
    log: Log = Log()
