"""The meter: what an answer used, read as it passes.

The meter is sans-io and total. It never awaits, never raises on what an upstream sends, and can be closed at any
moment. Whoever drives it gets the same reading for the same events, wherever the stream was cut into pieces.

    WAITING --start--> RUNNING --stop--> COMPLETE
       └───────────────────┴──fail──> FAILED

An upstream's counts are cumulative: merged by presence, overwritten, never added; an explicit 0 is 0. A count that is
not one (null, negative, a float, a string, beyond TOKENS_MAX) counts as absent. What was delivered and not yet
counted is estimated from its bytes, and the reading says so (`basis = counted`). So does one whose usage an adapter
had to count itself, and marked `"estimated": true`.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from faregate.core.ledger import Basis
from faregate.wire.usage import NOTHING, Usage

TOKENS_MAX: Final = 1_000_000_000
"""No call has a thousand million tokens. Beyond it a count is nonsense, and its price would not fit a 64-bit column."""

BYTES_PER_TOKEN: Final = 4
"""What a token of generated text comes to in UTF-8, for the part of a cut answer that upstream has not counted yet."""


class Progress(enum.Enum):
    WAITING = enum.auto()
    RUNNING = enum.auto()
    COMPLETE = enum.auto()
    FAILED = enum.auto()


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a message used, and how we know."""

    usage: Usage
    basis: Basis


class Meter:
    """Reads one answer. `input_guess` stands in for an input that upstream never counted."""

    __slots__ = (
        "_counts", "_estimated", "_input_guess", "_output_is_final", "_uncounted_bytes", "_unsplit_1h", "progress",
    )  # fmt: skip

    def __init__(self, *, input_guess: int = 0, unsplit_1h: bool = False) -> None:
        """`unsplit_1h`: every cache mark of the request asks for an hour, so writes that come unsplit are of that."""
        self.progress = Progress.WAITING
        self._counts: dict[str, int] = {}
        self._output_is_final = False
        self._estimated = False
        self._uncounted_bytes = 0
        self._input_guess = input_guess
        self._unsplit_1h = unsplit_1h

    def start(self, usage: object) -> None:
        """`message_start`: the real input, and an output count that is only a placeholder."""
        if self.progress is Progress.WAITING:
            self.progress = Progress.RUNNING
            _merge(self._counts, usage)

    def delivered(self, text_bytes: int) -> None:
        """Text, tool JSON or thinking of this length has passed."""
        if self.progress is Progress.RUNNING and text_bytes > 0:
            self._uncounted_bytes += text_bytes

    def delta(self, usage: object) -> None:
        """`message_delta`, or the usage of a plain answer: totals that replace what was known."""
        if self.progress is Progress.RUNNING and _merge(self._counts, usage):
            self._estimated = type(usage) is dict and usage.get("estimated") is True
            self._output_is_final = True
            self._uncounted_bytes = 0

    def stop(self) -> None:
        """`message_stop`, or the end of a plain answer."""
        if self.progress is Progress.RUNNING:
            self.progress = Progress.COMPLETE

    def fail(self) -> None:
        """The answer ended in an error: what it used is the operator's."""
        if self.progress is Progress.WAITING or self.progress is Progress.RUNNING:
            self.progress = Progress.FAILED

    def close(self) -> Reading:
        """The reading as of now. May be taken at any time, and again."""
        counts = self._counts
        if self.progress is Progress.WAITING or (self.progress is Progress.FAILED and not counts):
            return Reading(usage=NOTHING, basis=Basis.NOTHING)
        knows_input = "input_tokens" in counts
        write_5m, write_1h = _writes(counts, unsplit_1h=self._unsplit_1h)
        usage = Usage(
            input=counts["input_tokens"] if knows_input else self._input_guess,
            output=self._output(),
            cache_read=counts.get("cache_read_input_tokens", 0),
            cache_write_5m=write_5m,
            cache_write_1h=write_1h,
        )
        told = self.progress is Progress.COMPLETE and knows_input and self._output_is_final and not self._estimated
        return Reading(usage=usage, basis=Basis.UPSTREAM if told else Basis.COUNTED)

    def _output(self) -> int:
        counted = self._counts.get("output_tokens", 0)
        uncounted = -(-self._uncounted_bytes // BYTES_PER_TOKEN)
        # message_start's placeholder is part of what then passes; a message_delta's total stands before what follows.
        return counted + uncounted if self._output_is_final else max(counted, uncounted)


_TOTALS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
_SPLITS: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def _merge(counts: dict[str, int], usage: object) -> bool:
    """Overwrite with what is present and a count. True when the output was counted."""
    if type(usage) is not dict:
        return False
    for name in _TOTALS:
        if (count := _count(usage.get(name))) is not None:
            counts[name] = count
    split = usage.get("cache_creation")
    if type(split) is dict:
        for name in _SPLITS:
            if (count := _count(split.get(name))) is not None:
                counts[name] = count
    return _count(usage.get("output_tokens")) is not None


def _count(value: Any) -> int | None:
    # type() and not isinstance(): True is not a count.
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def _writes(counts: Mapping[str, int], *, unsplit_1h: bool) -> tuple[int, int]:
    """Divide the cache writes into (5m, 1h).

    The split comes with message_start alone, the total may be raised later: what is above the split is billed at the
    five-minute price, the lower one, unless the request asked for nothing but hours.
    """
    split_5m, split_1h = (counts.get(name, 0) for name in _SPLITS)
    total = counts.get("cache_creation_input_tokens", split_5m + split_1h)
    if unsplit_1h:
        write_5m = min(split_5m, total)
        return write_5m, total - write_5m
    write_1h = min(split_1h, total)
    return total - write_1h, write_1h
