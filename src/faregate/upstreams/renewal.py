"""What proves to a cloud who we are: fetched in a thread, kept while it is good, and fetched anew before it is not.

One rule: the event loop never waits for a key. A vendor's library may read files, ask a metadata server or run a
program for one, so it is asked in a thread, by one call for all who wait.

    get() ──good──────────────> the value
          ──good, but soon not─> the value, and a fetch begins beside it
          ──not good──────────> waits for the fetch; Fault(CONNECT) when it fails, for nothing has been sent
"""

import asyncio
import time
from typing import Final, Generic, Protocol, TypeVar

from faregate.upstreams.port import CannotStart, Fault, FaultKind

SPARE_S: Final = 60.0
"""What is good for less than this is not used for a call: it has a way to go, and clocks differ."""
PAUSE_S: Final = 5.0
"""Between two fetches ahead of time: a provider that is down, or gives the same token again, is not asked per call."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """A vendor's library, as far as it is needed."""

    def fetch(self) -> T_co:
        """Called in a thread; may take its time. Raises CannotStart on a setting that cannot work, or anything else."""

    def due(self, within_s: float) -> bool:
        """Whether what was fetched last ends within so many seconds. Called on the event loop: no I/O."""


class Renewal(Generic[T]):
    """Belongs to the event loop that first asks it. `soon_s` is how long before its end a value is fetched anew."""

    def __init__(self, source: Source[T], *, name: str, soon_s: float, pause_s: float = PAUSE_S) -> None:
        self._source = source
        self._name = name
        self._soon_s = soon_s
        self._pause_s = pause_s
        self._value: T | None = None
        self._task: asyncio.Task[T] | None = None
        self._good_until = 0.0
        """While a fetch is under way: until when what we have may still be used."""
        self._rests_until = 0.0

    async def start(self) -> None:
        """Fetch it for the first time. Raises CannotStart; trouble that may pass is left to the calls to meet."""
        try:
            await self.get()
        except Fault as fault:
            if isinstance(fault.__cause__, CannotStart):
                raise fault.__cause__ from None

    async def stop(self) -> None:
        """Wait for nothing: a thread that still fetches ends by itself."""
        if self._task is not None:
            self._task.cancel()

    async def get(self) -> T:
        """The value, good for a minute or more. Raises Fault."""
        value = self._value
        now = time.monotonic()
        if self._task is None:
            if value is not None and not self._source.due(self._soon_s):
                return value
            good = value is not None and not self._source.due(SPARE_S)
            if good and now < self._rests_until:
                assert value is not None
                return value
            self._begin(now + SPARE_S if good else now)
        # From here on the source may already know of a value that we have not got yet: it is not asked.
        if value is not None and now < self._good_until:
            return value
        assert self._task is not None
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise Fault(FaultKind.CONNECT, f"{self._name}: no credentials: {error}") from error

    @property
    def held(self) -> T | None:
        """What was fetched last, good or not."""
        return self._value

    def _begin(self, good_until: float) -> None:
        self._good_until = good_until
        self._task = asyncio.create_task(asyncio.to_thread(self._source.fetch))
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[T]) -> None:
        self._task = None
        self._rests_until = time.monotonic() + self._pause_s
        if not task.cancelled() and task.exception() is None:
            self._value = task.result()
