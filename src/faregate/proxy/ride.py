"""The ride: what is known of one call so far, as its record will say. It decides nothing and moves no money."""

import asyncio

import msgspec

from faregate.core.errors import GatewayError
from faregate.core.money import ZERO, Nanos
from faregate.core.quote import Quote
from faregate.proxy.attempts import Attempts
from faregate.proxy.hold import Hold
from faregate.proxy.port import Caller
from faregate.proxy.record import CallRecord
from faregate.wire.usage import NOTHING

CLIENT_CLOSED = 499
"""The status of a call whose caller hung up before there was one: nginx's number for it, in our log alone."""


class Ride(msgspec.Struct, kw_only=True):
    caller: Caller
    key_id: str | None = None
    wallet_id: str | None = None
    model: str | None = None
    stream: bool = False
    dropped: tuple[str, ...] = ()
    estimated: Nanos = ZERO
    quote: Quote | None = None
    hold: Hold | None = None
    replayed: str | None = None
    """The charge whose answer was given again."""
    attempts: Attempts | None = None
    upstream: str | None = None
    reached: tuple[float, float] | None = None
    """When the first attempt began and when upstream had accepted the call, in the event loop's seconds."""
    first_event: float | None = None
    """When the first event, or the plain answer, went to the caller."""
    status: int = 200
    error_code: str | None = None
    """The code alone: an error knows its traceback, and by it every frame of the call and the body. Kept here, it would
    be a circle that only the collector breaks, and it comes round once in hundreds of calls."""

    def refused(self, error: GatewayError) -> None:
        """The call ended in an error. A stream that had begun keeps its status of 200."""
        self.error_code = error.code
        if self.first_event is None:
            self.status = error.status

    def record(self) -> CallRecord:
        """The facts as of now."""
        now, arrived, hold = asyncio.get_running_loop().time(), self.caller.arrived, self.hold
        first, reached, quote = self.first_event, self.reached, self.quote
        usage, charged = (hold.reading.usage, hold.charged) if hold is not None else (NOTHING, ZERO)
        return CallRecord(
            request_id=self.caller.request_id,
            charge_id=hold.charge_id if hold is not None else self.replayed,
            key_id=self.key_id,
            wallet_id=self.wallet_id,
            model=self.model,
            status=self.status,
            error_code=self.error_code,
            outcome=hold.outcome if hold is not None else None,
            stream=self.stream,
            usage=usage,
            charged=charged,
            held=hold.held if hold is not None else ZERO,
            estimated=self.estimated,
            input_charged=Nanos(max(0, charged - usage.output * quote.price.output)) if quote is not None else ZERO,
            input_estimated=quote.input_estimated if quote is not None else ZERO,
            known_prefix=quote is not None and quote.guess.known,
            upstream=self.upstream,
            attempts=tuple(self.attempts.made) if self.attempts is not None else (),
            first_event_ms=(first - arrived) * 1_000 if first is not None else None,
            total_ms=(now - arrived) * 1_000,
            added_ms=(first - arrived - reached[1] + reached[0]) * 1_000 if first is not None and reached else None,
            dropped=self.dropped,
            replayed=self.replayed is not None,
        )
