"""How far quotes and charges were apart, in one table and a verdict.

The rule: an error is |estimated - charged| / charged, and a bar is held by the median of all calls that it is about.
The charge is the whole bill, with an answer whose length nobody can know; the input is what the quote can know.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

LEARNT_AFTER: Final = 20
"""Calls of a key before its estimates are judged."""
CHARGE_BAR: Final = 0.05
PREFIX_BAR: Final = 0.01
TOKENS_ONLY: Final = ("http local",)
"""What the embedded model reads in a second is so short that the cost of a known prompt is that of its new 150 tokens,
whose count from one such text to the next is some 4 % apart: there the cost is shown, and the tokens are judged."""


class Sample(NamedTuple):
    door: str
    """How it was asked, and what counted its tokens."""
    habit: str
    turn: int
    """Of its key, counted from 1."""
    seen: bool
    """Whether the prompt began with one that was settled before."""
    ceiling: int
    cost: int
    estimated: int
    input_cost: int
    input_estimated: int
    tokens: int
    """All input, cached or not."""
    tokens_estimated: int


class Bar(NamedTuple):
    name: str
    value: float
    limit: float

    @property
    def good(self) -> bool:
        return self.value <= self.limit


class Figures:
    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def rows(self) -> list[str]:
        """The table: a line for each door and habit, and one for all."""
        head = f"{'':<34}{'after ' + str(LEARNT_AFTER) + ' calls of a key':>34}{'prefix seen before':>26}"
        names = f"{'door':<20}{'habit':<12}{'calls':>8}{'short':>7}{'charge %':>10}{'input %':>10}"
        groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        for sample in self.samples:
            groups[sample.door, sample.habit].append(sample)
        lines = [head, f"{names}{'calls':>8}{'tokens %':>10}{'input %':>10}{'charge %':>10}"]
        for (door, habit), samples in sorted(groups.items()):
            lines.append(_row(door, habit, samples))
        doors = sorted({sample.door for sample in self.samples})
        lines += [_row(door, "all", [s for s in self.samples if s.door == door]) for door in doors]
        return [*lines, _row("all", "all", self.samples)]

    def bars(self) -> list[Bar]:
        """What must hold, of every door."""
        found = [Bar("charges above the ceiling", _short(self.samples), 0)]
        for door in sorted({sample.door for sample in self.samples}):
            samples = [sample for sample in self.samples if sample.door == door]
            charges = [_error(s.estimated, s.cost) for s in samples if s.turn > LEARNT_AFTER]
            tokens = [_error(s.tokens_estimated, s.tokens) for s in samples if s.seen]
            inputs = [_error(s.input_estimated, s.input_cost) for s in samples if s.seen and door not in TOKENS_ONLY]
            if charges:
                found.append(Bar(f"{door}: median error of the charge", median(charges), CHARGE_BAR))
            if tokens:
                found.append(Bar(f"{door}: of the input tokens, prefix seen before", median(tokens), PREFIX_BAR))
            if inputs:
                found.append(Bar(f"{door}: of the input's cost, prefix seen before", median(inputs), PREFIX_BAR))
        return found


def _row(door: str, habit: str, samples: Sequence[Sample]) -> str:
    learnt = [sample for sample in samples if sample.turn > LEARNT_AFTER]
    seen = [sample for sample in samples if sample.seen]
    return (
        f"{door:<20}{habit:<12}{len(samples):>8,}{_short(samples):>7}"
        f"{_percent(_error(s.estimated, s.cost) for s in learnt):>10}"
        f"{_percent(_error(s.input_estimated, s.input_cost) for s in learnt):>10}"
        f"{len(seen):>8,}"
        f"{_percent(_error(s.tokens_estimated, s.tokens) for s in seen):>10}"
        f"{_percent(_error(s.input_estimated, s.input_cost) for s in seen):>10}"
        f"{_percent(_error(s.estimated, s.cost) for s in seen):>10}"
    )


def _short(samples: Iterable[Sample]) -> int:
    return sum(sample.cost > sample.ceiling for sample in samples)


def _error(estimated: int, cost: int) -> float:
    return abs(estimated - cost) / cost if cost else float(estimated != cost)


def _percent(errors: Iterable[float]) -> str:
    found = list(errors)
    return f"{median(found) * 100:.2f}" if found else "-"
