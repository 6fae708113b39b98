"""The weights of a key: how many tokens each kind of content comes to, learnt call by call.

The rule: it begins with what most tokenizers make of a text and believes each call as far as its surprise is not out of
all proportion. It is a recursive least squares over shares: what a call comes to is its counts times the weights, each
weight with its own doubt, so a key of one kind of text is known after a call or two, and a mixture after some twenty.

    expect(counts) ──> tokens          learn(counts, tokens)          only kinds that were met take part
"""

from collections.abc import Sequence
from typing import Final

from faregate.core.prompt import TEXT_KINDS

PRIOR: Final = (
    0.3, 0.4, 0.5, 0.06, -0.02, 0.6, 1.0, 0.7,
    4.0, 8.0, 300.0, 0.3, 0.7, 0.0, 18_400.0, 0.0,
)  # fmt: skip
"""Tokens for one of each of `prompt.KINDS`. A document has some four pages of 3,000 tokens and a page image each."""
DOUBT: Final = (
    0.08, 0.2, 0.3, 0.1, 0.2, 0.3, 0.5, 0.4,
    4.0, 15.0, 300.0, 0.6, 0.6, 700.0, 12_000.0, 80.0,
)  # fmt: skip
"""How far from it they may well be."""
SCALE_DOUBT: Final = 0.3
"""How far all weights of text may be off together: tokenizers differ in how fine they cut."""

NOISE: Final = 0.015
"""What two texts of the same counts differ by, of their tokens."""
NOISE_TOKENS: Final = 2.0
DRIFT: Final = 0.005
"""Doubt grows by this part of what it began with at each call: what was learnt long ago counts less."""
SURPRISE: Final = 3.0
"""A call that is further off than so many deviations moves the weights no more than one that is just as far..."""
ALARM: Final = 0.3
"""...but doubt grows by this part, so that a change that stays is learnt soon."""


class Weights:
    __slots__ = ("_doubt", "_kinds", "_weights")

    def __init__(self) -> None:
        self._kinds: list[int] = []
        """Those that were met, in the order in which they were."""
        self._weights: list[float] = []
        self._doubt: list[list[float]] = []
        """The covariance of the weights."""

    def expect(self, counts: Sequence[float]) -> float:
        """The tokens that so much of each kind comes to."""
        weights = dict(zip(self._kinds, self._weights, strict=True))
        return max(0.0, sum([n * weights.get(kind, PRIOR[kind]) for kind, n in enumerate(counts) if n]))

    def learn(self, counts: Sequence[float], tokens: float, *, doubt: float = 0.0) -> tuple[float, float]:
        """Take in that these came to so many tokens, of which something else has a `doubt` (a variance) of its own.

        Gives the surprise and its own variance: what of it that other may take is `surprise * doubt / variance`.
        """
        self._meet(counts)
        shown = [float(counts[kind]) for kind in self._kinds]
        surprise = tokens - sum([n * weight for n, weight in zip(shown, self._weights, strict=True)])
        met = [(index, n) for index, n in enumerate(shown) if n]
        gain = [sum([row[index] * n for index, n in met]) for row in self._doubt]
        own = max(0.0, sum([gain[index] * n for index, n in met]))
        variance = own + doubt + (NOISE * tokens) ** 2 + NOISE_TOKENS**2
        limit = SURPRISE * variance**0.5
        drift = ALARM if abs(surprise) > limit else DRIFT
        surprise = max(-limit, min(limit, surprise))
        self._weights = [weight + g * surprise / variance for weight, g in zip(self._weights, gain, strict=True)]
        for index, (kind, row) in enumerate(zip(self._kinds, self._doubt, strict=True)):
            part = gain[index] / variance
            row[:] = [cell - part * other for cell, other in zip(row, gain, strict=True)]
            if row[index] < DOUBT[kind] ** 2:
                row[index] += (drift * DOUBT[kind]) ** 2
        return surprise, variance

    def _meet(self, counts: Sequence[float]) -> None:
        """Let the kinds take part that were not met before. Those that come together are in doubt together."""
        fresh = [kind for kind, n in enumerate(counts) if n and kind not in self._kinds]
        begun = len(self._kinds)
        for kind in fresh:
            shared = [
                SCALE_DOUBT**2 * PRIOR[kind] * PRIOR[other]
                if at >= begun and kind < TEXT_KINDS and other < TEXT_KINDS
                else 0.0
                for at, other in enumerate(self._kinds)
            ]
            for row, cell in zip(self._doubt, shared, strict=True):
                row.append(cell)
            self._doubt.append([*shared, _most(kind)])
            self._kinds.append(kind)
            self._weights.append(PRIOR[kind])


def _most(kind: int) -> float:
    scale = SCALE_DOUBT * PRIOR[kind] if kind < TEXT_KINDS else 0.0
    return DOUBT[kind] ** 2 + scale**2
