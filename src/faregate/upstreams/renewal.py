"""What proves to a cloud who we are: fetched in a thread, kept while it is good, and fetched anew before it is not.

One rule: the event loop never waits for a key. A vendor's library may read files, ask a metadata server or run a
program for one, so it is asked in a thread, by one call for all who wait.

    get() ──good──────────────> the value
          ──good, but soon not─> the value, and a fetch begins beside it
          ──not good──────────> waits for the fetch, WAIT_S at most; Fault(CONNECT) when it fails, for nothing has been
                                sent
"""

import asyncio
import logging
import time
from typing import Final, Generic, Protocol, TypeVar

from faregate.upstreams.port import CannotStart, Fault, FaultKind

SPARE_S: Final = 60.0
"""What is good for less than this is not used for a call: it has a way to go, and clocks differ."""
PAUSE_S: Final = 5.0
"""Between two fetches ahead of time: a provider that is down, or gives the same token again, is not asked per call."""

WAIT_S: Final = 30.0
"""A library may wait for ever, as for a program that gives keys: a call has other upstreams, and a caller who waits."""
FIRST_WORDS_MAX: Final = 300

_log = logging.getLogger(__name__)

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

    def __init__(
        self, source: Source[T], *, name: str, soon_s: float, pause_s: float = PAUSE_S, wait_s: float = WAIT_S
    ) -> None:
        self._source = source
        self._name = name
        self._soon_s = soon_s
        self._pause_s = pause_s
        self._wait_s = wait_s
        self._value: T | None = None
        self._task: asyncio.Task[T] | None = None
        self._good_until = 0.0
        """While a fetch is under way: until when what we have may still be used."""
        self._rests_until = 0.0
        self._failing = False
        """Whether the last fetch failed, and the operator has read so."""

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
            async with asyncio.timeout(self._wait_s) as deadline:
                return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            raise
        except TimeoutError as error:
            late = f"the provider did not answer within {self._wait_s:g} s"
            why = late if deadline.expired() else _first_words(error)
            raise Fault(FaultKind.CONNECT, f"{self._name}: no credentials: {why}") from error
        except Exception as error:
            raise Fault(FaultKind.CONNECT, f"{self._name}: no credentials: {_first_words(error)}") from error

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
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._value = task.result()
        elif not self._failing and not isinstance(error, CannotStart):
            _log.warning("%s: no credentials, and it is tried again: %s", self._name, _first_words(error))
        self._failing = error is not None


def _first_words(error: BaseException) -> str:
    """What an error says, without what stands behind it: google-auth puts the answer there that it could not read."""
    first = error.args[0] if error.args else ""
    return (first if isinstance(first, str) and first else f"{type(error).__name__} {error}")[:FIRST_WORDS_MAX]
