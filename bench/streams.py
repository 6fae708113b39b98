"""Many streams at once through a gateway that has one core: does every event come, and how late?

Each stream has so many events a second for so long. The callers and the fake upstream are kept off that core where
there is another, and the doors take their turns, each alone.
"""

import argparse
from typing import Final

from bench.door import Door
from bench.jobs import Answered
from bench.loads import Load
from bench.processes import Callers, callers, cpu, memory_kb
from bench.stage import DIRECT, apart, opened, tell, together
from bench.tables import Bar, Table, number

COLUMNS: Final = (
    "door", "streams", "events/s each", "events", "late p50 / p99 / max ms", "gap p50 / p99 ms",
    "first event p50 / p99 ms", "CPU of a core", "at rest MB", "per open stream kB", "errors",
)  # fmt: skip
NOTE: Final = (
    "Late is from an event's sending at upstream to its arrival at the caller, with the wake-ups of both; compare with "
    "direct. Memory is the proportional set size of the process tree, before and at its highest."
)


def run(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """The table, and what is wrong."""
    missing = dict[str, str]()
    rows, bars, wrong = list[tuple[str, ...]](), list[Bar](), list[str]()
    with opened(options.doors, missing) as found, callers() as by:
        for door in found:
            tell(f"{options.streams} streams at {door.name}")
            if door.pid is not None:
                tell(apart(door.pid, [by.pid, found[0].upstream_pid]))
            answered, figures = measured(by, door, options)
            if door.pid is not None:
                together(door.pid)
            rows.append(row(door, options, answered, figures))
            bars.append(Bar("", door.name, answered.late.p99))
            if answered.errors:
                wrong.append(f"streams at {door.name}: {answered.errors} errors ({answered.first_error})")
            if door.audit is not None and not door.audit():
                wrong.append(f"the books are not clean: streams at {door.name}")
    rows += [(name, f"missing: {why}", *[""] * (len(COLUMNS) - 2)) for name, why in missing.items()]
    return [Table("Many streams on one core", COLUMNS, tuple(rows), tuple(bars), "late p99, ms", NOTE)], wrong


def measured(by: Callers, door: Door, options: argparse.Namespace) -> tuple[Answered, tuple[float, int, int]]:
    """The streams, and of the gateway: its CPU as a part of a core, its memory at rest and at its highest, in kB."""
    load = Load("streams", events=options.rate * options.seconds, gap_ms=1000 / options.rate, max_tokens=8_000)
    job = load.job(
        door.url,
        door.headers,
        count=options.streams,
        concurrency=options.streams,
        seconds_max=options.seconds * 2 + 60,
        ramp_s=options.ramp,
    )
    pid = door.pid
    if pid is None:
        return by.ask(job), (0.0, 0, 0)
    rest, before, peak = memory_kb(pid), cpu(pid), 0

    def watch() -> None:
        nonlocal peak
        peak = max(peak, memory_kb(pid))

    answered = by.ask(job, watch=watch, every_s=1.0)
    return answered, (cpu(pid).since(before) / answered.elapsed_s, rest, max(peak, rest))


def row(
    door: Door, options: argparse.Namespace, answered: Answered, figures: tuple[float, int, int]
) -> tuple[str, ...]:
    """One door."""
    late, gap, (busy, rest, peak) = answered.late, answered.gap, figures
    counted = door.name != DIRECT
    return (
        door.name,
        number(options.streams, 0),
        str(options.rate),
        number(answered.events, 0),
        f"{number(late.p50)} / {number(late.p99)} / {number(late.max)}",
        f"{number(gap.p50)} / {number(gap.p99)}",
        f"{number(answered.first.p50)} / {number(answered.first.p99)}",
        f"{busy:.0%}" if counted else "-",
        number(rest / 1024, 1) if counted else "-",
        number((peak - rest) / options.streams, 1) if counted else "-",
        str(answered.errors),
    )
