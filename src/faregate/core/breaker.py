"""The circuit breaker: whether an upstream is asked at all, so that an outage is not met by every call anew.

            failures in a row, or their share               due, and a call asks: it is the probe
    CLOSED ───────────────────────────────────> OPEN ──────────────────────────────────────────> HALF_OPEN
       ^                                         ^   a probe failed: it rests twice as long          │  │
       │                                         └───────────────────────────────────────────────────┘  │
       └────────────────────── a probe was answered, or who asked anyway ───────────────────────────────┘

* CLOSED: every call may ask. Counted are failures in a row, and their share among the attempts of a sliding window.
* OPEN: no call may, until it is due. Where its model has nobody else either, it is asked anyway; an answer closes it.
* HALF_OPEN: one call may. A probe whose caller leaves makes room for the next at once; one that takes longer than a
  rest does so then, and its answer still counts.

A permit is the number of the state in which an attempt began: what began before the last change says nothing any more.
A failure is a connection, a deadline, an answer that is none, a 5xx; whatever else an upstream says, it is alive. Time
is an argument, in seconds of a clock that only goes forward.
"""

import enum
from typing import Final

import msgspec

UNREACHABLE_MAX: Final = 3
"""Connections that could not be made, in a row: there is nobody, which takes less proof than that somebody is ill."""

_DOUBLINGS_MAX: Final = 16


class State(enum.StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """When it opens, and for how long."""

    failures_max: int = 10
    """In a row."""
    share_max: int = 50
    """Per cent of a window's attempts..."""
    window_calls_min: int = 20
    """...when there are so many in it..."""
    window_s: float = 30.0
    """...and it is so long."""
    rest_s: float = 5.0
    """The first rest; each failed probe doubles it."""
    rest_s_max: float = 60.0


class Breaker:
    """Of one upstream."""

    __slots__ = (
        "_bounds", "_due_s", "_failures", "_half_s", "_new", "_old", "_permit", "_rests", "_since_s", "_state",
        "_unreachable",
    )  # fmt: skip

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._half_s = bounds.window_s / 2
        self._state = State.CLOSED
        self._permit = 0
        self._due_s = 0.0
        self._rests = 0
        """Rests since it was closed."""
        self._clear(0.0)

    def state(self, now_s: float) -> State:
        """The state, as whoever asks now would find it."""
        return State.HALF_OPEN if self._state is State.OPEN and now_s >= self._due_s else self._state

    def is_unreachable(self, now_s: float) -> bool:
        """Whether it is open, and the failure that opened it was that nobody could be connected to."""
        return self._unreachable > 0 and self.state(now_s) is State.OPEN

    def due_s(self, now_s: float) -> float:
        """Seconds until a call may ask; 0 when one may now."""
        return 0.0 if self._state is State.CLOSED else max(0.0, self._due_s - now_s)

    def begin(self, now_s: float, *, anyway: bool = False) -> int | None:
        """A permit to ask once; None while nobody may, unless it is asked `anyway`."""
        if self._state is not State.CLOSED:
            if now_s < self._due_s:
                return self._permit if anyway else None
            if self._state is State.OPEN:
                self._enter(State.HALF_OPEN)
            self._due_s = now_s + self._bounds.rest_s
        return self._permit

    def good(self, permit: int, now_s: float) -> None:
        """It answered."""
        if permit != self._permit:
            return
        if self._state is not State.CLOSED:
            self._enter(State.CLOSED)
            self._rests = 0
            self._clear(now_s)
        self._count(now_s, failed=0)
        self._failures = self._unreachable = 0

    def bad(self, permit: int, now_s: float, *, unreachable: bool = False) -> None:
        """It failed; `unreachable` where no connection could be made."""
        if permit != self._permit or self._state is State.OPEN:
            return  # Of one that was asked anyway it was to be expected.
        self._count(now_s, failed=1)
        self._unreachable = self._unreachable + 1 if unreachable else 0
        self._failed(now_s)

    def broke(self, permit: int, now_s: float) -> None:
        """One that had answered broke off: it is counted as failed now, and not as two attempts."""
        if permit == self._permit and self._state is State.CLOSED:
            self._count(now_s, calls=0, failed=1)
            self._failed(now_s)

    def _failed(self, now_s: float) -> None:
        self._failures += 1
        if self._state is State.HALF_OPEN or self._is_broken():
            rest_s = self._bounds.rest_s * 2 ** min(self._rests, _DOUBLINGS_MAX)
            self._enter(State.OPEN)
            self._rests += 1
            self._due_s = now_s + min(rest_s, self._bounds.rest_s_max)

    def left(self, permit: int, now_s: float) -> None:
        """It was not waited for."""
        if permit == self._permit and self._state is State.HALF_OPEN:
            self._due_s = now_s

    def _is_broken(self) -> bool:
        calls, failed = self._old[0] + self._new[0], self._old[1] + self._new[1]
        return (
            self._failures >= self._bounds.failures_max
            or self._unreachable >= UNREACHABLE_MAX
            or (calls >= self._bounds.window_calls_min and failed * 100 >= calls * self._bounds.share_max)
        )

    def _enter(self, state: State) -> None:
        self._state = state
        self._permit += 1

    def _clear(self, now_s: float) -> None:
        self._failures = self._unreachable = 0
        self._old, self._new, self._since_s = (0, 0), (0, 0), now_s
        """Attempts and failures of the window's two halves, and when the second began."""

    def _count(self, now_s: float, *, failed: int, calls: int = 1) -> None:
        age_s = now_s - self._since_s
        if age_s >= self._half_s:
            self._old = self._new if age_s < 2 * self._half_s else (0, 0)
            self._new, self._since_s = (0, 0), now_s
        self._new = (self._new[0] + calls, self._new[1] + failed)
