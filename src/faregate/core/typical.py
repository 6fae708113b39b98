"""The typical answer of a task: how many tokens the next one will probably have.

The rule: the median of the last answers, so that one long answer moves nothing; and where answers grow with what is
asked (a translation, a rewrite), the median of their share of it, if that was the closer guess lately. An answer that
its cap has cut would have gone on: for a larger cap it counts as one that reaches it too, within reason.
"""

from collections import deque
from statistics import median
from typing import Final

OUTPUT_TOKENS: Final = 256
"""A typical answer, before any was seen."""
RECENT: Final = 15
"""Answers that are remembered."""
BEYOND: Final = 4
"""A cut answer is believed to have gone on for so many times its cap at most."""
LOOKED_AT: Final = 4
"""After so many more answers the medians are taken anew; before RECENT have come, after each."""
CLOSER: Final = 0.8
"""The share of the input is taken when it misses by no more than this part of what the plain median misses by."""


class Typical:
    __slots__ = ("_answers", "_guesses", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self._guesses: dict[int, tuple[float, float]] = {}
        """By cap: tokens, and tokens for each of the input, of which one is 0."""
        self._answers: deque[tuple[int, int, int]] = deque(maxlen=RECENT)
        """Output, its cap, and the input it answered."""

    def learn(self, output: int, cap: int, total: int) -> None:
        """Take in a finished answer. A cap of 0 asks for none."""
        if not cap:
            return
        self.calls += 1
        self._answers.append((output, cap, total))
        if self.calls <= RECENT or not self.calls % LOOKED_AT:
            self._guesses.clear()

    def output(self, cap: int, total: float) -> int:
        """Guess the next answer to an input of so many tokens."""
        if not self._answers:
            return min(cap, OUTPUT_TOKENS)
        if cap not in self._guesses:
            if len(self._guesses) == RECENT:
                self._guesses.clear()
            self._guesses[cap] = self._guess(cap)
        plain, share = self._guesses[cap]
        return min(cap, round(plain + share * total))

    def _guess(self, cap: int) -> tuple[float, float]:
        outputs = [min(cap, output if output < own else BEYOND * own) for output, own, _ in self._answers]
        plain = median(outputs)
        if outputs.count(cap) * 2 > len(outputs) or len(outputs) < RECENT // 2:
            return plain, 0.0
        asked = [max(1, seen) for _, _, seen in self._answers]
        share = median([output / seen for output, seen in zip(outputs, asked, strict=True)])
        miss = sum([abs(output - plain) for output in outputs])
        miss_share = sum([abs(output - share * seen) for output, seen in zip(outputs, asked, strict=True)])
        return (0.0, share) if miss_share < CLOSER * miss else (plain, 0.0)
