"""The simulated upstream: plays what was drawn for each attempt, and keeps a log of its own of what it gave away.

The rule: the log is written by the upstream alone, byte by byte as they are taken, and survives every crash of the
gateway. Which request an attempt is for it knows from the task that asks, not from the gateway's words.
"""

import asyncio
import contextvars
import random
from collections.abc import Mapping

from faregate.upstreams.port import Answer, Ask, Fault, FaultKind, Sink, pour
from tests.simulation.calls import SONNET
from tests.simulation.plays import IDLE_S, TOTAL_S, Play, play

REQUEST: contextvars.ContextVar[int] = contextvars.ContextVar("request")
"""The number of the request that the running task serves."""


class Attempt:
    """One attempt as the upstream saw it."""

    def __init__(self, request: int, play: Play, at: float, body: bytes) -> None:
        self.request = request
        self.play = play
        self.at = at
        self.body = body
        """What was asked."""
        self.given = 0
        """Bytes of the body that were taken."""
        self.answered = False
        """Whether the head was."""
        self.ended = False
        """Whether a clean end was."""
        self.over_at: float | None = None
        """When nothing more was wanted or there was nothing more; None while it runs."""
        self.frozen = False
        """Whether the gateway that asked has died."""
        self.runs_on = f'"{SONNET}"'.encode() in body
        """Whether it bills on when its caller has left, so that nobody cancels it."""

    @property
    def whole(self) -> bool:
        """Whether a good answer was taken to its last byte; a plain one, to the end behind it."""
        whole_by = self.play.whole_by
        return self.answered and whole_by is not None and self.given >= whole_by and (self.streamed or self.ended)

    @property
    def streamed(self) -> bool:
        return self.play.headers.get("content-type", "").startswith("text/event-stream")


class SimUpstream:
    """Implements upstreams.port.Upstream."""

    embedded = False

    def __init__(self, name: str, chance: random.Random, log: list[Attempt]) -> None:
        self.name = name
        self._chance = chance
        self.log = log

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, ask: Ask) -> Answer:
        loop = asyncio.get_running_loop()
        request = REQUEST.get()
        attempt = Attempt(request, play(self._chance, stream=ask.stream), loop.time(), ask.body)
        script = attempt.play
        if script.fault is not FaultKind.CONNECT:
            self.log.append(attempt)
            if ask.on_wire is not None:
                ask.on_wire()
        try:
            await asyncio.sleep(script.head_s)
        except asyncio.CancelledError:
            attempt.over_at = loop.time()
            raise
        if script.fault is not None:
            attempt.over_at = loop.time()
            raise Fault(script.fault, "as scripted")
        if not attempt.frozen:
            attempt.answered = True
        return SimAnswer(attempt)

    async def count_tokens(self, ask: Ask) -> int | None:
        return None

    def redact(self, text: str) -> str:
        return text

    def healthy(self) -> bool:
        return True


class SimAnswer:
    """Implements upstreams.port.Answer."""

    def __init__(self, attempt: Attempt) -> None:
        self.status = attempt.play.status
        self.headers: Mapping[str, str] = attempt.play.headers
        self._attempt = attempt
        self._next = 0
        self._waiter: asyncio.Future[None] | None = None
        self._cancelled = False
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + TOTAL_S

    async def read(self) -> bytes:
        play = self._attempt.play
        last = len(play.pieces) - 1
        if self._next > last and not play.endless:
            await self._wait(play.ending_s)
            return self._end(play.ending)
        pause_s, data = play.pieces[min(self._next, last)]
        await self._wait(pause_s)
        self._next += 1
        if not self._attempt.frozen:
            self._attempt.given += len(data)
        return data

    async def pour(self, sink: Sink) -> bool:
        return await pour(self, sink)

    def cancel(self) -> None:
        if self._attempt.over_at is None:
            self._cancelled = True
            self._attempt.over_at = self._loop.time()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    leave = cancel

    async def _wait(self, seconds: float) -> None:
        """Wait, unless it is cancelled or a deadline comes first. Raises Fault."""
        if self._cancelled:
            raise Fault(FaultKind.CANCELLED, "cancelled before")
        if self._attempt.over_at is not None:
            return  # It was read to its end, and is read again.
        left_s = min(IDLE_S, self._deadline - self._loop.time())
        if seconds > 0 or left_s <= 0:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(min(seconds, max(0.0, left_s)), _wake, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._cancelled:
            raise Fault(FaultKind.CANCELLED, "cancelled")
        if seconds > left_s:
            self._end(FaultKind.TIMEOUT)

    def _end(self, ending: FaultKind | None) -> bytes:
        attempt = self._attempt
        if attempt.over_at is None:
            attempt.over_at = self._loop.time()
            attempt.ended = ending is None and not attempt.frozen
        if ending is not None:
            raise Fault(ending, "as scripted")
        return b""


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
