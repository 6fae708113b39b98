"""Readers who stall: they read the head of an answer that never ends, and then nothing more.

What must be seen: memory comes to rest and stays there, and the streams of others are no later than without them.
"""

import argparse
import time
from typing import Final

from bench.door import Door
from bench.jobs import Answered
from bench.loads import Load
from bench.processes import Callers, callers, memory_kb
from bench.stage import opened, tell
from bench.tables import Bar, Table, number

ENDLESS: Final = Load("endless", events=1_000_000, size=1_000, max_tokens=8_000)
"""A gigabyte: nobody reads it to its end."""
OTHERS: Final = 50
SETTLED_S: Final = 3.0
"""In which the buffers of the stalled are full."""

COLUMNS: Final = (
    "door", "stalled readers", "memory before MB", "once they stall MB", "after the run MB", "kB each",
    "late p50 / p99 ms without", "late p50 / p99 ms with", "events", "errors",
)  # fmt: skip


def run(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """The table, and what is wrong."""
    missing = dict[str, str]()
    rows, bars, wrong = list[tuple[str, ...]](), list[Bar](), list[str]()
    with opened(options.doors, missing) as found:
        for door in found[1:]:
            tell(f"{options.readers} stalled readers at {door.name}")
            with callers() as by:
                made, errors = measured(by, door, options)
            rows.append(made)
            bars.append(Bar("", door.name, float(made[5].replace(",", ""))))
            wrong += errors
            if door.audit is not None and not door.audit():
                wrong.append(f"the books are not clean: stalled readers at {door.name}")
    rows += [(name, f"missing: {why}", *[""] * (len(COLUMNS) - 2)) for name, why in missing.items()]
    return [Table("Stalled readers", COLUMNS, tuple(rows), tuple(bars), "kB for each stalled reader")], wrong


def measured(by: Callers, door: Door, options: argparse.Namespace) -> tuple[tuple[str, ...], list[str]]:
    """One door: the streams of others alone, then beside the stalled ones."""
    assert door.pid is not None
    without, before = others(by, door, options.seconds), memory_kb(door.pid)
    with callers() as stalling:
        count = options.readers
        stalled = stalling.ask(
            ENDLESS.job(
                door.url, door.headers, count=count, concurrency=count, seconds_max=60, ramp_s=count / 200, stall=True
            )
        )
        time.sleep(SETTLED_S)
        full = memory_kb(door.pid)
        beside = others(by, door, options.seconds)
        after = memory_kb(door.pid)
    errors = [
        f"{what} at {door.name}: {one.errors} errors ({one.first_error})"
        for what, one in (("alone", without), ("stalled", stalled), ("beside them", beside))
        if one.errors
    ]
    made = (
        door.name,
        number(count, 0),
        *(number(kb / 1024, 1) for kb in (before, full, after)),
        number((after - before) / count, 1),
        *(f"{number(one.late.p50)} / {number(one.late.p99)}" for one in (without, beside)),
        number(without.events + beside.events, 0),
        str(without.errors + stalled.errors + beside.errors),
    )
    return made, errors


def others(by: Callers, door: Door, seconds: int) -> Answered:
    """Paced streams of callers who read, for so long."""
    load = Load("others", events=50 * seconds, gap_ms=20, max_tokens=8_000)
    return by.ask(
        load.job(door.url, door.headers, count=OTHERS, concurrency=OTHERS, seconds_max=seconds * 2 + 60, ramp_s=0.5)
    )
