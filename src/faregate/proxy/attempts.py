"""The retry envelope: one call, up to `attempts_max` attempts, one answer at most.

An attempt is good once upstream has accepted it: the first event of a stream, the whole of a plain answer. Until then
nothing has gone to the caller, and a failure that may mend itself is tried again, on the model's next upstream where
there is one. A good attempt is never followed by another. When the envelope gives up, the error says what was tried.
Who is asked, and whether anybody is, `core/dispatch.py` decides; each attempt is reported to it.

    reach() -> Reply            a stream past its message_start, or a plain answer whole
            -> GatewayError     upstream's trouble, as the caller may know it
            -> CallerGone       hung up meanwhile
"""

import asyncio
import itertools
from typing import Any, Final

import msgspec

from faregate.core.errors import SLEEP_S_MAX, GatewayError, NotReady, Refused
from faregate.core.meter import Meter, Progress
from faregate.core.routing import may_retry, wait_ms
from faregate.core.stream import Stream, StreamFault
from faregate.proxy.drain import Kept
from faregate.proxy.fare import Fare
from faregate.proxy.hold import Hold
from faregate.proxy.port import Gateway
from faregate.proxy.record import Attempt
from faregate.proxy.verdict import CallerGone, Failed, alive, broken, of_answer, of_event, of_fault
from faregate.upstreams.port import Answer, Fault, FaultKind, Upstream
from faregate.wire.answer import read_plain
from faregate.wire.usage import NOTHING, Usage

PLAIN_BYTES_MAX: Final = 64 * 1024 * 1024
"""A plain answer is held whole until it is paid for."""
FIRST_BYTES_MAX: Final = 1024 * 1024
"""And of a stream what comes before its message_start: pings, as a rule."""


class Reply(msgspec.Struct, kw_only=True):
    """A good attempt."""

    upstream: Upstream
    answer: Answer
    meter: Meter
    stream: Stream | None = None
    first: bytes = b""
    """Of a stream: what may pass already."""
    body: bytes = b""
    """Of a plain answer: all of it."""


class _Wire:
    """Whether a request has been written. It knows nothing of its attempts: a cycle through them would keep every body
    until the collector comes."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = False

    def mark(self) -> None:
        self.used = True


class Attempts:
    """The attempts of one call. Everything here happens in the task that serves the call."""

    def __init__(self, gate: Gateway, fare: Fare, held: Hold) -> None:
        self._gate = gate
        self._wire = _Wire()
        self._ask = msgspec.structs.replace(fare.ask(held.max_tokens), on_wire=self._wire.mark)
        self._runs_on = fare.admitted.model.runs_to_completion
        self._message_id = held.charge_id
        self._asked_model = fare.asked_model
        self._new_meter = fare.meter
        self._trail = fare.trail
        self._guess = fare.quote.guess.usage
        self._permit = -1
        """Of the good attempt, while a fault of its stream has not been reported."""
        self._waiting: asyncio.Task[Any] | None = None
        self._reply: Reply | None = None
        self._gone = False
        self.made: list[Attempt] = []
        self.kept: asyncio.Task[Reply] | None = None
        """Where upstream bills on regardless: the attempt, which goes on when its caller leaves."""
        self.lost: list[Usage] = []
        """What attempts used that nobody got."""

    @property
    def sent(self) -> bool:
        """Whether an upstream has been asked and has not refused: it may bill for that."""
        return self._wire.used

    def cancel(self) -> None:
        """The caller has gone: stop what is under way. Until there is a reply that is this task's own wait."""
        self._gone = True
        if self._waiting is not None:
            self._waiting.cancel()

    def stop(self) -> None:
        """Stop what is under way at the upstream, whatever that is. Safe to repeat."""
        kept, reply = self.kept, self._reply
        if reply is not None and reply.meter.progress is Progress.COMPLETE:
            reply.answer.leave()
            return
        if reply is not None:
            reply.answer.cancel()
            if self._permit >= 0 and reply.stream is not None and reply.stream.fault is not None:
                self._broke(reply, reply.stream.fault)
        if kept is not None and not kept.done():
            kept.cancel()
        elif kept is not None and not kept.cancelled() and kept.exception() is None:
            kept.result().answer.cancel()

    async def reach(self) -> Reply:
        """Try until there is a reply or the envelope gives up. Raises GatewayError or CallerGone."""
        if self._gone:
            raise CallerGone
        self._waiting = asyncio.current_task()
        try:
            return await self._try_in_turn()
        except asyncio.CancelledError:
            if self._gone and self._waiting is not None and self._waiting.uncancel() == 0:
                raise CallerGone from None
            raise
        finally:
            self._waiting = None

    async def _try_in_turn(self) -> Reply:
        gate, dispatch, model = self._gate, self._gate.dispatch, self._ask.model
        time = asyncio.get_running_loop().time
        began = time()
        route = gate.routes.route(model)
        names = route.upstreams
        if not names:
            raise NotReady("No upstream is configured for this model.", should_retry=False)
        if len(names) > 1:
            names = dispatch.order(route, self._trail, began, chance=gate.chance)
        dispatch.budget.called()
        failed: Failed | None = None
        for number in itertools.count(1):
            name, permit = await self._turn(names, number, failed, began)
            upstream = gate.upstreams[name]
            try:
                reply = await (self._keep if self._runs_on else self._attempt)(upstream)
            except Failed as error:
                if self.sent and error.word == FaultKind.TIMEOUT:  # It has what was asked, and may finish it unseen.
                    self.lost.append(msgspec.structs.replace(self._guess, output=0))
                failed, self._wire.used, self.kept = error, False, None
                dispatch.bad(
                    name, permit, model, time(),
                    alive=alive(error), unreachable=error.word == FaultKind.CONNECT, asked_ms=error.asked_ms,
                )  # fmt: skip
                self.made.append(Attempt(name, error.status, error.word))
                if not error.again:
                    raise error.error from error
            except BaseException:
                dispatch.left(name, permit, time())
                raise
            else:
                dispatch.good(name, permit, model, self._trail, time())
                self._reply, self._permit = reply, permit
                self.made.append(Attempt(name, reply.answer.status))
                return reply
        raise AssertionError("the envelope is bounded")

    async def _turn(self, names: tuple[str, ...], number: int, failed: Failed | None, began: float) -> tuple[str, int]:
        """Wait for the turn of an attempt: its upstream, and the permit to ask it. Raises GatewayError when there is to
        be no such attempt."""
        gate, dispatch, model = self._gate, self._gate.dispatch, self._ask.model
        time = asyncio.get_running_loop().time
        pausing = failed is not None
        """Whether there is to be a pause before the attempt, whoever it goes to."""
        while True:
            now = time()
            elapsed_ms = int((now - began) * 1_000)
            turn = dispatch.turn(
                names, number - 1, model, now,
                last=self.made[-1].upstream if self.made else None,
                patience_ms=min(gate.retry.budget_ms - elapsed_ms, gate.retry.wait_ms_max),
            )  # fmt: skip
            anyway, pause_ms = turn.anyway, 0
            if failed is None:
                # What it asked of another call it may say to this one, too: nobody waits, or is refused, on hearsay.
                anyway = anyway or bool(turn.wait_ms)
            else:
                pause_ms = turn.wait_ms or 0
                if pausing:
                    pause_ms = wait_ms(gate.retry, number - 1, asked_ms=turn.wait_ms, chance=gate.chance())
                fits = may_retry(gate.retry, number - 1, elapsed_ms=elapsed_ms, wait_ms=pause_ms)
                if not fits or (pausing and not dispatch.budget.take(now)):
                    raise self._give_up(failed) from failed
            if pausing or pause_ms:
                pausing = False
                last = self.made[-1]
                self.made[-1] = msgspec.structs.replace(last, wait_ms=last.wait_ms + pause_ms)
                await asyncio.sleep(pause_ms / 1_000)
            permit = dispatch.begin(turn.upstream, model, time(), anyway=anyway)
            if permit is not None:
                return turn.upstream, permit

    def _give_up(self, failed: Failed) -> GatewayError:
        """What the caller is told of the last failure."""
        error = failed.error
        assert not isinstance(error, Refused), "a refusal is not tried again"
        retry_after_ms = failed.asked_ms if failed.asked_ms is not None else self._gate.retry.wait_ms_max
        return type(error)(
            error.message,
            code=error.code,
            details={
                "retry": {
                    "attempts": [msgspec.to_builtins(attempt) for attempt in self.made],
                    "retryable": True,
                    "retry_after_ms": retry_after_ms,
                }
            },
            retry_after_s=retry_after_ms / 1_000,
            should_retry=retry_after_ms <= SLEEP_S_MAX * 1_000,
        )

    def _broke(self, reply: Reply, fault: StreamFault) -> None:
        """Tell of a stream that broke off after it had begun."""
        if not alive(of_event(fault, reply.upstream.redact)):
            now = asyncio.get_running_loop().time()
            self._gate.dispatch.broke(reply.upstream.name, self._permit, now)
        self._permit = -1

    async def _keep(self, upstream: Upstream) -> Reply:
        """An attempt that goes on when its caller leaves, unless nothing has been sent by then."""
        attempt = self.kept = asyncio.create_task(self._attempt(upstream))
        try:
            reply = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if not (self._gone and self.sent):
                attempt.cancel()
                self.kept = None
            raise
        return msgspec.structs.replace(reply, answer=Kept(reply.answer))

    async def _attempt(self, upstream: Upstream) -> Reply:
        try:
            answer = await upstream.send(self._ask)
        except Fault as fault:
            raise of_fault(fault) from fault
        try:
            if answer.status != 200:
                raise await of_answer(answer, upstream.redact, now_ms=self._gate.now_ms())
            return await (self._opened if self._ask.stream else self._whole)(upstream, answer)
        except Fault as fault:
            raise of_fault(fault) from fault
        except BaseException:
            answer.cancel()
            raise

    async def _opened(self, upstream: Upstream, answer: Answer) -> Reply:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise broken("not_a_stream", "The upstream answered without a stream.")
        stream = Stream(message_id=self._message_id, model=self._asked_model, meter=self._new_meter())
        first = b""
        while stream.progress is Progress.WAITING:
            data = await answer.read()
            first += stream.feed(data)
            if not data:
                stream.end()
            if len(first) > FIRST_BYTES_MAX and stream.progress is Progress.WAITING:
                raise broken("too_large", "The upstream's stream does not begin.")
        if stream.fault is not None:
            if (usage := stream.meter.close().usage) != NOTHING:
                self.lost.append(usage)
            raise of_event(stream.fault, upstream.redact)
        return Reply(upstream=upstream, answer=answer, stream=stream, meter=stream.meter, first=first)

    async def _whole(self, upstream: Upstream, answer: Answer) -> Reply:
        pieces, size = [], 0
        while data := await answer.read():
            pieces.append(data)
            size += len(data)
            if size > PLAIN_BYTES_MAX:
                raise broken("too_large", "The upstream's answer is too large.")
        plain = read_plain(b"".join(pieces), message_id=self._message_id, model=self._asked_model)
        if plain is None:
            raise broken("not_a_message", "The upstream's answer is not a message.")
        meter = self._new_meter()
        meter.start(None)
        meter.delivered(plain.content_bytes)
        meter.delta(plain.usage)
        meter.stop()
        return Reply(upstream=upstream, answer=answer, meter=meter, body=plain.body)
