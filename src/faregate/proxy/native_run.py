"""One batch of an upstream, looked after: filled, handed over, asked after, and each of its results settled.

    fill -> judge each -> note it -> POST -> note its name -> ask, ask, ask ... -> read results -> end
                                └── no answer: nobody knows whether it runs there; given back, and booked as a loss

The rule: whatever is known is in the database before the next step, so a process that ends at any moment leaves a row
that says what to do: what was not handed over goes back, what may have been goes back with its possible cost, and what
has a name is asked after.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from faregate.core.access import Key
from faregate.core.batch import RequestState
from faregate.core.batch_commands import Again, End, Ticket
from faregate.core.errors import GatewayError, Internal, NotReady
from faregate.core.native_batch import GiveBack, Native, NativeState
from faregate.proxy import entry
from faregate.proxy.batch_run import FindKey, Stored
from faregate.proxy.fare import Fare, appraise
from faregate.proxy.native_result import again, end_of, error_of, record
from faregate.proxy.port import Gateway
from faregate.store.port import Natives
from faregate.upstreams.port import BatchRefused, BatchUpstream, Fault
from faregate.wire.batch_result import read_result

R = TypeVar("R")

WAIT_S: Final = 1.0
"""Between two questions to a database that is away."""
POLL_S: Final = 5.0
"""Before upstream is asked a second time; each further pause is half as long again."""
POLL_S_MAX: Final = 60.0
REST_MS: Final = 60_000
"""For an upstream that takes no batch now and does not say for how long."""
REST_MS_MAX: Final = 600_000
REFUSED_MAX: Final = 5
"""How often upstream may say that it has no such batch: a key that was changed by mistake can be mended meanwhile."""
READS_MAX: Final = 20
"""How often results are read in vain, one pause apart, before they are given up."""


class NativeRun:
    """Belongs to the task that runs it. `rest_ms` is for how long its upstream wants no further batch."""

    def __init__(
        self, gate: Gateway, natives: Natives, native: Native, upstream: BatchUpstream | None, find_key: FindKey
    ) -> None:
        """`upstream` is None where no such upstream is configured any more."""
        self._gate = gate
        self._natives = natives
        self._native = native
        self._upstream = upstream
        self._find_key = find_key
        self._canceling = asyncio.Event()
        self._sent = False
        self._stopping = False
        self.bringing = False
        """Whether it is filled or handed over: one at a time, for all of it is in memory meanwhile."""
        self.handing_over = False
        """Whether upstream is being asked to take it: who is cut now does not learn what became of it."""
        self.rest_ms = 0

    @property
    def native(self) -> Native:
        return self._native

    def cancel(self) -> None:
        """Our batch was canceled: pass it on. Safe to repeat."""
        self._canceling.set()

    def stop(self) -> None:
        """Do not follow what is being handed over: it is written down where it is."""
        self._stopping = True

    async def begin(self, models: tuple[str, ...]) -> None:
        """Fill it with requests of these models, hand it over, and follow it to its end."""
        assert self._upstream is not None
        self.bringing = True
        if await self._brought(self._upstream, models) and not self._stopping:
            self.bringing = False
            await self._follow(self._upstream)

    async def resume(self) -> None:
        """Go on where whoever had it before has left it."""
        state, upstream = self._native.state, self._upstream
        if state is NativeState.FILLING:
            await self._give_back(tried=False)
        elif state is NativeState.SUBMITTING:
            self._trouble("upstream was asked to take a batch by a process that went away, and may bill it", None)
            await self._give_back(tried=True, crashed=True, cost=True)
        elif upstream is None:
            self._trouble(f"there is no upstream {self._native.upstream!r} any more, which runs a batch", None)
            await self._give_back(tried=True, cost=True)
        else:
            await self._follow(upstream)

    async def _brought(self, upstream: BatchUpstream, models: tuple[str, ...]) -> bool:
        tickets = await self._natives.fill(self._native, models, self._gate.now_ms())
        if not tickets:
            return False
        self._native = msgspec.structs.replace(self._native, version=tickets[0].version, beta=tickets[0].beta)
        key = await self._patiently(lambda: self._find_key(tickets[0].key_id))
        entries = [one for ticket in tickets if (one := await self._entry(upstream, key, ticket)) is not None]
        self.handing_over = True
        try:
            return await self._hand_over(upstream, entries)
        finally:
            self.handing_over = False

    async def _entry(self, upstream: BatchUpstream, key: Key, ticket: Ticket) -> bytes | None:
        """A request as upstream gets it. What can no longer be judged is left to our queue, which ends it."""
        await asyncio.sleep(0)
        if key.revoked_at_ms is None:
            try:
                fare = self._judged(key, ticket)
                return upstream.entry(ticket.charge_id, fare.ask(fare.admitted.max_tokens))
            except GatewayError:
                pass
        command = again(ticket, at_ms=self._gate.now_ms(), cost=False)
        await self._patiently(lambda: self._natives.put_back(self._native, command))
        return None

    def _judged(self, key: Key, ticket: Ticket) -> Fare:
        document = entry.read(ticket.params)
        model = entry.find_model(self._gate, key, document)
        return appraise(self._gate, key, document, model, Stored(ticket))

    async def _hand_over(self, upstream: BatchUpstream, entries: list[bytes]) -> bool:
        native = self._native
        if not entries:
            await self._give_back(tried=False)
            return False
        if not await self._natives.submit(self._native):
            return False
        try:
            upstream_id = await upstream.create(
                entries, version=native.version, beta=native.beta, on_wire=self._on_wire
            )
        except BatchRefused as refusal:
            await self._refused(refusal)
            return False
        except Fault as fault:
            self._trouble("upstream did not say whether it took a batch", fault)
            self.rest_ms = REST_MS
            await self._give_back(tried=self._sent, cost=self._sent, wait_ms=self.rest_ms)
            return False
        native = self._native = msgspec.structs.replace(
            self._native, upstream_id=upstream_id, state=NativeState.PROCESSING
        )
        if not await self._patiently(lambda: self._natives.submitted(native)):
            # Somebody took us for dead, and has put all of it back.
            self._trouble("a batch was handed over too late, and is canceled", None)
            with contextlib.suppress(Fault, BatchRefused):
                await upstream.cancel(upstream_id, native.version)
            return False
        return True

    async def _refused(self, refusal: BatchRefused) -> None:
        if refusal.again:
            self.rest_ms = min(max(refusal.asked_ms or 0, REST_MS), REST_MS_MAX)
            self._trouble("upstream takes no batch now, and is asked again later", refusal)
        else:
            self._trouble("upstream refused a batch as a whole: its requests are run one by one", refusal)
        await self._give_back(tried=not refusal.again, wait_ms=self.rest_ms)

    def _on_wire(self) -> None:
        self._sent = True

    async def _follow(self, upstream: BatchUpstream) -> None:
        """Ask until it has ended and each result is settled."""
        native, pause_s, refused, reads, passed = self._native, POLL_S, 0, 0, False
        assert native.upstream_id is not None
        while True:
            try:
                if self._canceling.is_set() and not passed:
                    passed = await self._pass_on(upstream, native.upstream_id)
                    pause_s = POLL_S
                if await upstream.has_ended(native.upstream_id, native.version):
                    reads += 1
                    await self._settle(upstream, native.upstream_id)
                    # What upstream says nothing of it has not run.
                    await self._give_back(tried=True)
                    return
            except BatchRefused as refusal:
                self._trouble("upstream did not tell of a batch", refusal)
                refused += not refusal.again
            except Fault as fault:
                self._trouble("upstream did not tell of a batch", fault)
            if refused >= REFUSED_MAX or reads >= READS_MAX:
                self._trouble("a batch is given up that upstream may bill", None)
                await self._give_back(tried=True, cost=True)
                return
            await self._pause(pause_s)
            pause_s = min(pause_s * 1.5, POLL_S_MAX)

    async def _pass_on(self, upstream: BatchUpstream, upstream_id: str) -> bool:
        """Cancel it there. Whether that is said: what has ended meanwhile refuses it."""
        try:
            await upstream.cancel(upstream_id, self._native.version)
        except BatchRefused as refusal:
            return not refusal.again
        return True

    async def _pause(self, pause_s: float) -> None:
        """Wait, unless it is canceled meanwhile."""
        if self._canceling.is_set():
            await asyncio.sleep(pause_s)
            return
        try:
            async with asyncio.timeout(pause_s):
                await self._canceling.wait()
        except TimeoutError:
            return

    async def _settle(self, upstream: BatchUpstream, upstream_id: str) -> None:
        async for line in upstream.results(upstream_id, self._native.version):
            result = read_result(line)
            ticket = await self._ticket(result.custom_id) if result is not None else None
            if result is None or ticket is None:
                continue
            await self._patiently(self._gate.prices.current)
            fare = await self._fare(ticket)
            error = error_of(result, upstream.redact)
            try:
                command = end_of(self._gate, ticket, result, fare, upstream=upstream.name, error=error)
            except Exception as fault:  # One result that we stumble over must not keep the others from being settled.
                self._trouble(f"the result of {ticket.charge_id} could not be taken", fault)
                command = again(ticket, at_ms=self._gate.now_ms(), cost=True)
            if isinstance(command, Again):
                await self._patiently(lambda command=command: self._natives.put_back(self._native, command))  # type: ignore[misc]
                continue
            if await self._ended(command) and command.state in (RequestState.SUCCEEDED, RequestState.ERRORED):
                model = fare.admitted.model.id if fare is not None else None
                self._gate.observer.finished(record(command, model=model, upstream=upstream.name, error=error))

    async def _ended(self, command: End) -> bool:
        try:
            return await self._patiently(lambda: self._natives.end(self._native, command))
        except Internal as error:  # One that the ledger refuses must not keep the others from being settled.
            self._trouble(f"the ledger refused the end of {command.ticket.charge_id}", error)
            return False

    async def _ticket(self, charge_id: str) -> Ticket | None:
        return await self._patiently(lambda: self._natives.ticket(self._native, charge_id))

    async def _fare(self, ticket: Ticket) -> Fare | None:
        """The call that it was, where key and catalog still have it: for its meter."""
        try:
            return self._judged(await self._patiently(lambda: self._find_key(ticket.key_id)), ticket)
        except GatewayError:
            return None

    async def _give_back(self, *, tried: bool, crashed: bool = False, cost: bool = False, wait_ms: int = 0) -> None:
        now_ms = self._gate.now_ms()
        command = GiveBack(native=self._native, again_at_ms=now_ms + wait_ms, tried=tried, crashed=crashed, cost=cost)
        await self._patiently(lambda: self._natives.give_back(command, now_ms))

    async def _patiently(self, ask: Callable[[], Awaitable[R]]) -> R:
        """Ask the ledger until it answers."""
        while True:
            try:
                return await ask()
            except NotReady as error:
                self._trouble("the ledger could not be told of a batch yet", error)
                await asyncio.sleep(WAIT_S)

    def _trouble(self, what: str, error: BaseException | None) -> None:
        native = self._native
        self._gate.observer.trouble(native.batch_id, f"{what}: {native.id} at {native.upstream}", error)
