"""The rest of a call whose caller has left, where upstream goes on and bills on regardless (`runs_to_completion`).

The caller is settled at once for what was made until then. The rest is read for the operator alone, and what it cost
beyond that is booked to `abandon_loss` by a command of its own: so nobody's money waits for upstream, and a charge that
has ended does not change.

    caller leaves ──> settled or released ──> read() to upstream's end ──> the difference is lost
"""

import asyncio

import msgspec

from faregate.core.errors import GatewayError, Internal, NotReady
from faregate.core.meter import Progress
from faregate.core.money import ZERO, Nanos
from faregate.proxy.attempts import Attempts, Reply
from faregate.proxy.fare import Fare
from faregate.proxy.hold import Hold
from faregate.proxy.port import Gateway
from faregate.proxy.verdict import CallerGone, Failed
from faregate.upstreams.port import Fault


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """What upstream goes on with."""

    gate: Gateway
    held: Hold
    fare: Fare
    attempts: Attempts
    attempt: asyncio.Task[Reply]
    """The good attempt, or the one that may yet be good."""

    async def read(self) -> None:
        """Read to the end, and book the loss. Cancelled, it books what it knows by then."""
        cost = self.fare.quote.input_estimated
        try:
            reply = await self.attempt
            cost = await self._read_on(reply)
        except (Failed, GatewayError) as refused:
            # A refusal is not billed; of an attempt that broke nobody knows what it cost.
            if not isinstance(refused, Failed) or refused.status is not None:
                cost = ZERO
        except (CallerGone, asyncio.CancelledError):
            pass  # The gateway stops.
        except Exception as error:
            self._tell("reading on what upstream bills failed by a fault of the gateway", error)
        try:
            await self.held.lose(cost, self.attempts.lost)
        except (NotReady, Internal) as error:  # After NotReady it is booked as soon as the database can.
            self._tell("what upstream went on to bill could not be booked yet", error)

    async def _read_on(self, reply: Reply) -> Nanos:
        stream = reply.stream
        try:
            while stream is not None and stream.progress is Progress.RUNNING:
                piece = await reply.answer.read()
                stream.feed(piece)
                if not piece:
                    stream.end()
        except (Fault, asyncio.CancelledError):
            pass  # What has been counted by now is what we know.
        reply.answer.cancel()
        return self.held.cost(reply.meter.close().usage)

    def _tell(self, what: str, error: Exception) -> None:
        self.gate.observer.trouble(self.held.request_id, what, error)


def rest_of(gate: Gateway, fare: Fare, held: Hold, attempts: Attempts) -> Rest | None:
    """What to read on of a call that its caller has left; None where upstream can be cancelled, or has to be."""
    if attempts.kept is None or not gate.drains.has_room:
        return None
    return Rest(gate=gate, held=held, fare=fare, attempts=attempts, attempt=attempts.kept)
