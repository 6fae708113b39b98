"""Virtual time: an event loop without sockets, threads or a wall clock, which can end at any step.

The rule: what runs next is decided by the calls that were made and by nothing else. When nothing is ready, time jumps
to the next timer. One callback is one step, so a step is as much of the program as runs between two awaits; the loop
raises `Crash` before a step that was named beforehand, and whatever was waiting then never goes on.

    loop = VirtualLoop(at=12.5, crash_before=4_711)
    loop.run_until_complete(main())      or Crash
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

THREAD_S = 0.001
"""What work in a thread takes, by this clock."""

TICK_S = 1e-6
"""The shortest wait."""


class Crash(BaseException):
    """The process has died. Not an Exception: nothing that is simulated may catch it."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on a clock of its own."""

    def __init__(self, *, at: float = 0.0, crash_before: int | None = None) -> None:
        super().__init__()
        self.steps = 0
        """Callbacks that ran."""
        self.crash_before = crash_before
        self._now = at
        self._number = 0
        self._due: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.faults: list[str] = []
        """What the loop was told of tasks and callbacks that failed with nobody to hear of it."""
        self.set_exception_handler(_remember)

    def time(self) -> float:
        return self._now

    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that are still to come."""
        return [handle for _, _, handle in self._timers if not handle.cancelled()]

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._due.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        # The number decides between timers of one moment: the first that was set is the first to run.
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        # A wait that is lost in rounding would go on for ever: on a real clock the next look at it is later.
        return self.call_at(self._now + max(delay, TICK_S if delay else 0.0), callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Run it here, in one step, a moment later."""
        future = self.create_future()
        self.call_later(THREAD_S, _work, future, func, args)
        return future

    def _run_once(self) -> None:
        due, timers = self._due, self._timers
        if not due:
            while timers and timers[0][2].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise RuntimeError("everything waits, and nothing will ever happen")
            self._now = max(self._now, timers[0][0])
            while timers and timers[0][0] <= self._now:
                due.append(heapq.heappop(timers)[2])
        if self.steps == self.crash_before:
            raise Crash
        handle = due.popleft()
        if not handle.cancelled():
            self.steps += 1
            handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Told by a handle; it is skipped when its time comes."""


def _work(future: "asyncio.Future[Any]", func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


def _remember(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    error = context.get("exception")
    loop.faults.append(f"{context.get('message')}: {error!r}")
