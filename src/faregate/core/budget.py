"""The retry budget: what all calls together may spend on second attempts, so that an outage is not multiplied.

A bucket. Each call puts a share of a retry into it, each second a few; a retry takes a whole one out. While an upstream
fails now and then nobody notices it; when everything fails, upstream sees a fifth more than the calls there are, and
not three times as much. Numbers are hundredths of a retry, so that they are whole.
"""

from typing import Final

import msgspec

WHOLE: Final = 100
FULL_S: Final = 10
"""A full bucket is what so many seconds give by themselves..."""
FULL_MIN: Final = 10
"""...and no less than so many retries."""


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What flows into the bucket."""

    share: int = 20
    """Per cent of a retry, for each call."""
    floor_per_s: int = 10
    """Retries a second, however few calls there are."""


class Budget:
    """Of all upstreams of this process. It begins full."""

    __slots__ = ("_allowance", "_at_s", "_full", "_left", "made", "refused")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._full = self._left = WHOLE * max(FULL_MIN, FULL_S * allowance.floor_per_s)
        self._at_s = 0.0
        self.made = 0
        """Retries that were allowed."""
        self.refused = 0
        """Retries that were not."""

    def called(self) -> None:
        """A call makes its first attempt."""
        left = self._left + self._allowance.share
        self._left = left if left < self._full else self._full

    def take(self, now_s: float) -> bool:
        """Take out one retry, if there is one."""
        drops_per_s = self._allowance.floor_per_s * WHOLE
        drops = int((now_s - self._at_s) * drops_per_s)
        if drops > 0:
            self._left = min(self._full, self._left + drops)
            self._at_s += drops / drops_per_s  # What is less than a drop goes on to gather.
        if self._left < WHOLE:
            self.refused += 1
            return False
        self._left -= WHOLE
        self.made += 1
        return True
