"""The drains: answers that are read though nobody waits for them, to learn what upstream bills.

The rule: a drain never keeps anybody. It is one of at most DRAINS_MAX, the deadlines of its upstream end it, and a
gateway that stops waits for it as for a call and then cuts it: a drain that is cut books what it knows by then.

    begin ──> reading ──> booked
                 └──cut──────┘
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from faregate.upstreams.port import Answer, Fault, FaultKind, Sink, pour

DRAINS_MAX: Final = 64
"""Each may hold a plain answer. Whoever leaves when there are so many is treated as if upstream could be cancelled."""


class Drains:
    """The drains of one gateway."""

    def __init__(self, drains_max: int = DRAINS_MAX) -> None:
        self._drains_max = drains_max
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether another may begin."""
        return not self._closed and len(self._tasks) < self._drains_max

    def begin(self, drain: Coroutine[Any, Any, None]) -> None:
        """Run one in the background. It books its own findings and raises nothing."""
        task = asyncio.get_running_loop().create_task(drain)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._closed:  # Its caller left as the gateway stopped.
            self.cut()

    def cut(self) -> None:
        """Stop reading now, and take no more."""
        self._closed = True
        for task in self._tasks:
            # In the loop's next turn: a task that is cancelled before its first step books nothing.
            asyncio.get_running_loop().call_soon(task.cancel)

    async def close(self, wait_s: float) -> None:
        """Wait so long for those under way, then cut them; afterwards there is none."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(0.0, wait_s))
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)


class Kept:
    """An answer that outlives its reader: `cancel` ends the reading and leaves the answer as it is."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._left = False
        self._reader: asyncio.Task[object] | None = None

    async def read(self) -> bytes:
        if self._left:
            raise Fault(FaultKind.CANCELLED, "its reader has left")
        self._reader = reader = asyncio.current_task()
        assert reader is not None
        try:
            return await self.answer.read()
        except asyncio.CancelledError:
            # Nothing is lost by it: what comes meanwhile stays in the answer.
            if self._left and reader.uncancel() == 0:
                raise Fault(FaultKind.CANCELLED, "its reader has left") from None
            raise
        finally:
            self._reader = None

    async def pour(self, sink: Sink) -> bool:
        return await pour(self, sink)

    def cancel(self) -> None:
        if not self._left:
            self._left = True
            if self._reader is not None:
                self._reader.cancel()

    def leave(self) -> None:
        """Leave the answer itself: it has been read as far as anybody will."""
        self.answer.leave()
