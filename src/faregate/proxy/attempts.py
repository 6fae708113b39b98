"""The retry envelope: one call, up to `attempts_max` attempts, one answer at most.

An attempt is good once upstream has accepted it: the first event of a stream, the whole of a plain answer. Until then
nothing has gone to the caller, and a failure that may mend itself is tried again, on the model's next upstream where
there is one. A good attempt is never followed by another. When the envelope gives up, the error says what was tried.

    reach() -> Reply            a stream past its message_start, or a plain answer whole
            -> GatewayError     upstream's trouble, as the caller may know it
            -> CallerGone       hung up meanwhile
"""

import asyncio
import itertools
import math
from typing import Any, Final

import msgspec

from faregate.core.errors import SLEEP_S_MAX, GatewayError, NotReady, Refused
from faregate.core.meter import Meter, Progress
from faregate.core.routing import may_retry, wait_ms
from faregate.core.stream import Stream
from faregate.proxy.drain import Kept
from faregate.proxy.fare import Fare
from faregate.proxy.hold import Hold
from faregate.proxy.port import Gateway
from faregate.proxy.record import Attempt
from faregate.proxy.verdict import CallerGone, Failed, broken, of_answer, of_event, of_fault
from faregate.upstreams.port import Answer, Fault, Upstream
from faregate.wire.answer import read_plain
from faregate.wire.usage import NOTHING, Usage

PLAIN_BYTES_MAX: Final = 64 * 1024 * 1024
"""A plain answer is held whole until it is paid for."""


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
        names = self._gate.routes.upstreams(self._ask.model)
        if not names:
            raise NotReady("No upstream is configured for this model.", should_retry=False)
        loop = asyncio.get_running_loop()
        began = loop.time()
        welcome_at: dict[str, float] = {}
        for number in itertools.count(1):
            upstream = self._gate.upstreams[names[(number - 1) % len(names)]]
            try:
                reply = self._reply = await (self._keep if self._runs_on else self._attempt)(upstream)
            except Failed as failed:
                self._wire.used, self.kept = False, None
                now = loop.time()
                if failed.asked_ms is not None:
                    welcome_at[upstream.name] = now + failed.asked_ms / 1_000
                pause_ms = self._pause_ms(number, now, welcome_at.get(names[number % len(names)]))
                elapsed_ms = int((now - began) * 1_000)
                again = failed.again and may_retry(self._gate.retry, number, elapsed_ms=elapsed_ms, wait_ms=pause_ms)
                self.made.append(Attempt(upstream.name, failed.status, failed.word, pause_ms if again else 0))
                if not again:
                    raise self._give_up(failed) from failed
                await asyncio.sleep(pause_ms / 1_000)
            else:
                self.made.append(Attempt(upstream.name, reply.answer.status))
                return reply
        raise AssertionError("the envelope is bounded")

    def _pause_ms(self, number: int, now: float, welcome_at: float | None) -> int:
        """The wait before the next attempt, which heeds what the upstream that it goes to has asked for."""
        asked_ms = None if welcome_at is None else max(0, math.ceil((welcome_at - now) * 1_000))
        return wait_ms(self._gate.retry, number, asked_ms=asked_ms, chance=self._gate.chance())

    def _give_up(self, failed: Failed) -> GatewayError:
        error = failed.error
        if isinstance(error, Refused) or not failed.again:
            return error
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
