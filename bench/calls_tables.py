"""What `calls` has seen, and its tables: a row for each load and door, and one for what each door holds."""

from collections.abc import Callable
from statistics import median
from typing import Final, NamedTuple

from bench.jobs import Answered
from bench.stage import DIRECT
from bench.tables import Bar, Table, number, span

PEER: Final = "rolter"
"""Whom the ratios are to."""
COLUMNS: Final = (
    "load", "door", "CPU µs", f"CPU ÷ {PEER}", "database CPU µs", "requests/s", "p50 ms", "p99 ms", "added p50",
    "added p99", "first event ms", "gap p50 / p99 ms", "late p50 / p99 ms", "calls", "errors",
)  # fmt: skip
NOTE: Final = (
    "CPU is user and system time of the gateway's process tree per call, and of PostgreSQL's beside it; each figure is "
    f"the median of the rounds, and the ratio to {PEER} is taken within each round (lowest and highest in brackets). "
    "Added is against direct in the same round. Late is from an event's sending at upstream to its arrival at the "
    "caller, the two processes' own wake-ups included: compare with direct."
)


class Sample(NamedTuple):
    """One load at one door in one round."""

    answered: Answered
    cpu_us: float
    database_us: float


class Resting(NamedTuple):
    """What a door holds when nothing happens, and for each open stream."""

    rest_kb: int
    stream_kb: float
    streams: int


class Seen:
    """What was measured."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], list[Sample]] = {}
        """By load and door."""
        self.missing: dict[str, str] = {}
        self.resting: dict[str, Resting] = {}
        self.unclean: list[str] = []


def tables(seen: Seen, title: str, loads: list[str], doors: list[str]) -> list[Table]:
    """All of them."""
    rows = [row(seen, load, door) for load in loads for door in (DIRECT, *doors)]
    bars = [
        Bar(load, door, _middle(seen.samples[load, door], lambda one: one.cpu_us))
        for load in loads
        for door in doors
        if (load, door) in seen.samples
    ]
    made = [Table(title, COLUMNS, tuple(rows), tuple(bars), "CPU µs a call, of the gateway", NOTE)]
    return [*made, memory(seen, doors)] if seen.resting else made


def row(seen: Seen, load: str, door: str) -> tuple[str, ...]:
    """One load at one door."""
    samples = seen.samples.get((load, door))
    if samples is None:
        return (load, door, f"missing: {seen.missing.get(door, 'not asked for')}", *[""] * (len(COLUMNS) - 3))
    direct = seen.samples[load, DIRECT]
    peer = seen.samples.get((load, PEER), [])
    counted = door != DIRECT
    ratios = [ours.cpu_us / theirs.cpu_us for ours, theirs in zip(samples, peer, strict=False) if theirs.cpu_us]
    added = list(zip(samples, direct, strict=True))
    paced = bool(samples[0].answered.late.max)
    return (
        load,
        door,
        number(_middle(samples, lambda one: one.cpu_us), 0) if counted else "-",
        span(ratios) if counted and ratios else "-",
        number(_middle(samples, lambda one: one.database_us), 0) if any(one.database_us for one in samples) else "-",
        number(_middle(samples, _per_s), 0),
        number(_middle(samples, lambda one: one.answered.whole.p50)),
        number(_middle(samples, lambda one: one.answered.whole.p99)),
        number(median(ours.answered.whole.p50 - bare.answered.whole.p50 for ours, bare in added)) if counted else "-",
        number(median(ours.answered.whole.p99 - bare.answered.whole.p99 for ours, bare in added)) if counted else "-",
        number(_middle(samples, lambda one: one.answered.first.p50)),
        _pair(samples, lambda one: one.answered.gap.p50, lambda one: one.answered.gap.p99) if paced else "-",
        _pair(samples, lambda one: one.answered.late.p50, lambda one: one.answered.late.p99) if paced else "-",
        number(sum(one.answered.calls for one in samples), 0),
        number(sum(one.answered.errors for one in samples), 0),
    )


def memory(seen: Seen, doors: list[str]) -> Table:
    """What each door holds."""
    rows = [
        (door, number(held.rest_kb / 1024, 1), number(held.stream_kb, 1), str(held.streams))
        if (held := seen.resting.get(door))
        else (door, f"missing: {seen.missing.get(door, 'not asked for')}", "", "")
        for door in doors
    ]
    bars = [Bar("", door, seen.resting[door].stream_kb) for door in doors if door in seen.resting]
    note = "Proportional set size of the process tree, after its first calls and at its highest while streams are open."
    columns = ("door", "at rest MB", "per open stream kB", "streams")
    return Table("Memory", columns, tuple(rows), tuple(bars), "kB per open stream", note)


def _per_s(sample: Sample) -> float:
    return sample.answered.calls / sample.answered.elapsed_s


def _middle(samples: list[Sample], figure: Callable[[Sample], float]) -> float:
    return median(figure(sample) for sample in samples)


def _pair(samples: list[Sample], one: Callable[[Sample], float], two: Callable[[Sample], float]) -> str:
    return f"{number(_middle(samples, one))} / {number(_middle(samples, two))}"
