"""One request of a batch, run: from its claim to its result, by the same retry envelope and meter as a call.

    appraise -> send -> meter -> end: charge, result and counts in one transaction
                  └──> put back, to be run again: upstream's trouble, or a gateway that stops

The rule: a result is written with the settle of its charge, so it is billed once however often it was run. Nobody waits
for it, so what the database does not take is asked again until it does; a process that ends meanwhile leaves the claim,
which the next one takes back.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from faregate.core import batch as rules
from faregate.core.access import Key
from faregate.core.batch import Halved, RequestState, halved, pause_ms, whole
from faregate.core.batch_commands import Again, End, Ticket
from faregate.core.errors import GatewayError, Internal, NotReady, Refused, Unauthenticated
from faregate.core.ledger import Outcome, Release, Reserved, Settle, split
from faregate.core.money import ZERO, Nanos
from faregate.proxy import entry
from faregate.proxy.attempts import Attempts, Reply
from faregate.proxy.fare import Fare, appraise
from faregate.proxy.hold import Hold
from faregate.proxy.port import Gateway
from faregate.proxy.record import CallRecord
from faregate.store.port import Batches

WAIT_S: Final = 1.0
"""Between two questions to a database that is away."""

FindKey = Callable[[str], Awaitable[Key]]
"""Office.key_find: a key as it is now, whoever has revoked it."""


class Stored:
    """Who made the batch, as `proxy.port.Asker`: what of its headers is kept."""

    address = ""

    def __init__(self, ticket: Ticket) -> None:
        self.request_id = ticket.request_id
        self._headers = {b"anthropic-version": ticket.version, b"anthropic-beta": ticket.beta}

    def header(self, name: bytes) -> str | None:
        return self._headers.get(name)

    async def body(self) -> bytes:
        raise AssertionError("the body was read when the batch was made")


class Run:
    """One claim. `run` is its life; it raises nothing but cancellation, which puts the request back."""

    def __init__(self, gate: Gateway, batches: Batches, ticket: Ticket, find_key: FindKey) -> None:
        self._gate = gate
        self._batches = batches
        self._ticket = ticket
        self._find_key = find_key
        self._price: Halved | None = None
        self._attempts: Attempts | None = None
        self._model: str | None = None
        self._error: GatewayError | None = None

    async def run(self) -> None:
        """Run it to its end, or put it back."""
        began = asyncio.get_running_loop().time()
        try:
            command = await self._run()
        except asyncio.CancelledError:
            telling = asyncio.create_task(self._tell(self._stopped(), patient=False))
            while not telling.done():
                with contextlib.suppress(asyncio.CancelledError):  # Cut once more: whoever cuts it waits for this.
                    await asyncio.wait([telling])
            raise
        ended = await self._tell(command, patient=True)
        if isinstance(command, End) and ended:
            self._gate.observer.finished(self._record(command, began))

    async def leave(self) -> None:
        """Put it back instead: it has not begun."""
        await self._tell(self._stopped(), patient=False)

    async def _tell(self, command: End | Again, *, patient: bool) -> bool:
        """Whether it was done, as far as we know: not so where the claim was no longer ours."""
        unheard = False
        while True:
            try:
                done = await (
                    self._batches.end(command) if isinstance(command, End) else self._batches.put_back(command)
                )
            except (NotReady, Internal) as error:
                unheard = unheard or (isinstance(error, NotReady) and error.unknown)
                self._trouble("the end of a request of a batch could not be written yet", error)
                if not patient:
                    return False
                await asyncio.sleep(WAIT_S)
            else:
                return done or unheard

    async def _run(self) -> End | Again:
        try:
            if self._ticket.crashes >= rules.CRASHES_MAX:
                raise Internal(
                    f"The gateway ended {self._ticket.crashes} times while it ran this request. You were not billed."
                )
            fare = await self._fare()
            attempts = self._attempts = Attempts(self._gate, fare, self._hold(fare))
            reply = await attempts.reach()
            return self._succeeded(fare, reply)
        except GatewayError as error:
            if isinstance(error, Refused | Internal) or not self._is_outage():
                return self._failed(error)
            await asyncio.sleep(rules.OUTAGE_REST_S)
            return self._again(
                at_ms=self._gate.now_ms() + rules.OUTAGE_PAUSE_MS, tries=self._ticket.tries, wasted=self._wasted()
            )
        except Exception as error:
            self._trouble("a request of a batch failed by a fault of the gateway", error)
            return self._errored(Internal("Something went wrong in the gateway. You were not billed for this request."))
        finally:
            if self._attempts is not None:
                self._attempts.stop()

    async def _fare(self) -> Fare:
        """Judge it once more, by key and catalog as they are now; it is billed by the price that it was held by."""
        key = await self._key()
        if key.revoked_at_ms is not None:
            raise Unauthenticated("The key that made this batch was revoked.", code="key_revoked")
        await self._gate.prices.current()
        price = {version.id: version for version in self._gate.prices.versions()}.get(self._ticket.price_id)
        if price is None:  # Another replica has appended it a moment ago.
            raise NotReady("The price version of this request is not known here yet.")
        self._price = halved(price)
        document = entry.read(self._ticket.params)
        model = entry.find_model(self._gate, key, document)
        self._model = model.id
        return appraise(self._gate, key, document, model, Stored(self._ticket))

    async def _key(self) -> Key:
        while True:
            try:
                return await self._find_key(self._ticket.key_id)
            except NotReady:
                await asyncio.sleep(WAIT_S)

    def _hold(self, fare: Fare) -> Hold:
        """What the attempts need of a hold: its name, and the cap that it was taken for."""
        assert self._price is not None
        reserved = Reserved(
            held=self._ticket.held, max_tokens=fare.admitted.max_tokens, available=ZERO, quota_available=None
        )
        command = fare.reservation(self._gate, Stored(self._ticket))
        command = msgspec.structs.replace(command, charge_id=self._ticket.charge_id)
        return Hold(self._gate, command, self._price, reserved)

    def _succeeded(self, fare: Fare, reply: Reply) -> End:
        assert self._price is not None and self._attempts is not None
        ticket, reading = self._ticket, reply.meter.close()
        fare.learn(self._gate, reading, finished=True)
        charged, shortfall = split(self._price.cost(reading.usage), ticket.held)
        wasted = self._wasted()
        charge = Settle(
            charge_id=ticket.charge_id,
            wallet_id=ticket.wallet_id,
            key_id=ticket.key_id,
            outcome=Outcome.OK,
            usage=reading.usage,
            basis=reading.basis,
            charged=charged,
            shortfall=shortfall,
            loss=ticket.loss(wasted),
            loss_amount=wasted,
            upstream=reply.upstream.name,
            attempts=ticket.tries + len(self._attempts.made),
            at_ms=self._gate.now_ms(),
        )
        return End(ticket=ticket, charge=charge, state=RequestState.SUCCEEDED, result=rules.succeeded(reply.body))

    def _failed(self, error: GatewayError) -> End | Again:
        """What time may mend is run again, a few times; the rest is its result."""
        tries = self._ticket.tries + 1
        if isinstance(error, Refused | Internal) or tries >= rules.TRIES_MAX:
            return self._errored(error)
        wait_ms = max(pause_ms(tries), int(1_000 * (error.retry_after_s or 0)))
        return self._again(at_ms=self._gate.now_ms() + wait_ms, tries=tries, wasted=self._wasted())

    def _is_outage(self) -> bool:
        """Whether it met upstreams that are all down, and used nothing of theirs that somebody has to pay. That says
        nothing of the request: it waits for the outage's end, or the batch's."""
        attempts, now_s = self._attempts, asyncio.get_running_loop().time()
        if self._model is None or attempts is None or attempts.lost:
            return False
        return not any(self._gate.dispatch.is_up(name, now_s) for name in self._gate.routes.upstreams(self._model))

    def _stopped(self) -> Again:
        """A gateway that stops: what upstream made of it is lost, and no try is counted."""
        sent = self._attempts is not None and self._attempts.sent
        wasted = Nanos(self._wasted() + (whole(self._ticket.estimated) if sent else 0))
        return self._again(at_ms=self._gate.now_ms(), tries=self._ticket.tries, wasted=wasted)

    def _errored(self, error: GatewayError) -> End:
        self._error = error
        ticket, wasted = self._ticket, self._wasted()
        charge = Release(
            charge_id=ticket.charge_id,
            wallet_id=ticket.wallet_id,
            key_id=ticket.key_id,
            outcome=Outcome.GATEWAY_ERROR if isinstance(error, Internal) else Outcome.UPSTREAM_ERROR,
            loss=ticket.loss(wasted),
            loss_amount=wasted,
            attempts=ticket.tries + (len(self._attempts.made) if self._attempts is not None else 0),
            at_ms=self._gate.now_ms(),
        )
        result = rules.errored(error, ticket.request_id)
        return End(ticket=ticket, charge=charge, state=RequestState.ERRORED, result=result)

    def _again(self, *, at_ms: int, tries: int, wasted: Nanos) -> Again:
        crashes = self._ticket.crashes
        return Again(ticket=self._ticket, again_at_ms=at_ms, tries=tries, crashes=crashes, wasted=wasted)

    def _wasted(self) -> Nanos:
        """What all tries have cost so far that nobody pays."""
        lost = self._attempts.lost if self._attempts is not None else []
        return Nanos(self._ticket.wasted + sum(self._price.whole(usage) for usage in lost if self._price is not None))

    def _trouble(self, what: str, error: Exception) -> None:
        self._gate.observer.trouble(self._ticket.request_id, f"{what}: {self._ticket.charge_id}", error)

    def _record(self, command: End, began: float) -> CallRecord:
        charge, ticket = command.charge, self._ticket
        billed = charge.charged if isinstance(charge, Settle) else ZERO
        return CallRecord(
            request_id=ticket.request_id,
            charge_id=ticket.charge_id,
            key_id=ticket.key_id,
            wallet_id=ticket.wallet_id,
            model=self._model,
            status=200 if self._error is None else self._error.status,
            error_code=None if self._error is None else self._error.code,
            outcome=charge.outcome,
            usage=charge.usage,
            charged=billed,
            upstream=charge.upstream,
            attempts=tuple(self._attempts.made) if self._attempts is not None else (),
            total_ms=(asyncio.get_running_loop().time() - began) * 1_000,
        )
