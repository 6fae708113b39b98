"""The record of one call: everything that metrics and logs may know of it, and nothing of what was said in it.

One record is made when a call ends, however it ends. It has no field in which a prompt, an answer or a key could be
put: that is how they stay out of logs.
"""

import msgspec

from faregate.core.ledger import Outcome
from faregate.core.money import Nanos
from faregate.wire.usage import NOTHING, Usage


class Attempt(msgspec.Struct, frozen=True):
    """One try at an upstream, as `details.retry` and the metrics show it."""

    upstream: str
    """As configured."""
    status: int | None = None
    """What it answered, None where nothing came."""
    error: str | None = None
    """A word for the log and the caller (connect, timeout, overloaded...); None where the attempt was good."""
    wait_ms: int = 0
    """How long we waited before the next."""


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the data plane, finished."""

    request_id: str
    charge_id: str | None = None
    """The message id; None where the call was refused before its hold. Of a repeat it is the first call's."""
    key_id: str | None = None
    wallet_id: str | None = None
    model: str | None = None
    """The catalog's id. None where none was found: a caller's own words never become a label."""
    status: int
    error_code: str | None = None
    outcome: Outcome | None = None
    """None where the call was refused before its hold."""
    stream: bool = False
    usage: Usage = NOTHING
    charged: Nanos = Nanos(0)
    held: Nanos = Nanos(0)
    estimated: Nanos = Nanos(0)
    input_charged: Nanos = Nanos(0)
    """What of the charge was for the input; with it, how far the quote was off in what it can know."""
    input_estimated: Nanos = Nanos(0)
    known_prefix: bool = False
    """Whether the prompt began with one whose tokens upstream had told."""
    upstream: str | None = None
    """The one that answered."""
    attempts: tuple[Attempt, ...] = ()
    first_event_ms: float | None = None
    """From the first byte of the request to the first event of the answer."""
    total_ms: float
    added_ms: float | None = None
    """What of it was ours: total less the time spent waiting for upstream."""
    dropped: tuple[str, ...] = ()
    """Names of advisory parameters that were left out."""
    replayed: bool = False
    """A repeat with the same Idempotency-Key, answered with what is kept: it held and cost nothing."""
