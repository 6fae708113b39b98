"""One caller at a time: what a gateway adds to a call, and how much of it is the disk's.

A call through Faregate waits for two commits: its hold's and its settle's. What one costs here is measured beside, in
the same rounds and on the same disk: an fsync of 4 kB, and a commit of SQLite with synchronous = FULL.
"""

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

from bench.door import Door
from bench.jobs import Answered, Spread, spread
from bench.loads import PLAIN
from bench.processes import callers
from bench.stage import DIRECT, opened, tell
from bench.tables import Bar, Table, number

COLUMNS: Final = (
    "what", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "less two commits p50 ms", "calls", "errors",
)  # fmt: skip
PAGE: Final = 4096
NOTE: Final = (
    "A plain answer, one caller. Each figure is the median of the rounds. The commits of PostgreSQL are its own, and "
    "are not taken off."
)


def run(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """The table, and what is wrong."""
    missing, wrong = dict[str, str](), list[str]()
    answers, disk = dict[str, list[Answered]](), dict[str, list[Spread]]()
    with opened(options.doors, missing) as found, callers() as by, tempfile.TemporaryDirectory() as folder:
        for turn in range(1, options.rounds + 1):
            tell(f"round {turn}")
            for name, do in (("fsync of 4 kB", fsyncs), ("commit of SQLite, FULL", commits)):
                disk.setdefault(name, []).append(do(Path(folder), options.requests))
            for door in found:
                answered = by.ask(PLAIN.job(door.url, door.headers, count=options.requests, seconds_max=60))
                answers.setdefault(door.name, []).append(answered)
                wrong += _wrong(door, answered)
    commit = median(one.p50 for one in disk["commit of SQLite, FULL"])
    rows = list[tuple[str, ...]]()
    for name, ones in disk.items():
        rows.append((name, *_pair(ones), "-", "-", "-", number(options.requests * len(ones), 0), "-"))
    rows += [_row(name, called, answers[DIRECT], commit) for name, called in answers.items()]
    rows += [(name, f"missing: {why}", *[""] * (len(COLUMNS) - 2)) for name, why in missing.items()]
    bars = [Bar("", name, _added(called, answers[DIRECT], lambda one: one.p50))
            for name, called in answers.items() if name != DIRECT]  # fmt: skip
    return [Table("One caller at a time", COLUMNS, tuple(rows), tuple(bars), "added p50, ms", NOTE)], wrong


def fsyncs(folder: Path, count: int) -> Spread:
    """Append a page and flush it, so often."""
    took = list[int]()
    with (folder / "file").open("ab", buffering=0) as file:
        for _ in range(count):
            began = time.monotonic_ns()
            file.write(bytes(PAGE))
            os.fsync(file.fileno())
            took.append(time.monotonic_ns() - began)
    return spread(took, per_ms=1e6)


def commits(folder: Path, count: int) -> Spread:
    """Insert a row and commit it, so often, as the ledger's file is opened."""
    took = list[int]()
    connection = sqlite3.connect(folder / "commits.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS row(id INTEGER PRIMARY KEY, text TEXT)")
    for _ in range(count):
        began = time.monotonic_ns()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO row(text) VALUES ('a receipt is about so long')")
        connection.execute("COMMIT")
        took.append(time.monotonic_ns() - began)
    connection.close()
    return spread(took, per_ms=1e6)


def _row(name: str, ones: list[Answered], direct: list[Answered], commit: float) -> tuple[str, ...]:
    whole, counted = [one.whole for one in ones], name != DIRECT
    added = _added(ones, direct, lambda one: one.p50)
    return (
        name,
        *_pair(whole),
        number(added) if counted else "-",
        number(_added(ones, direct, lambda one: one.p99)) if counted else "-",
        number(added - 2 * commit) if name == "faregate-sqlite" else "-",
        number(sum(one.calls for one in ones), 0),
        str(sum(one.errors for one in ones)),
    )


def _pair(ones: list[Spread]) -> tuple[str, str]:
    return number(median(one.p50 for one in ones)), number(median(one.p99 for one in ones))


def _added(ones: list[Answered], direct: list[Answered], figure: Callable[[Spread], float]) -> float:
    return median(figure(one.whole) - figure(bare.whole) for one, bare in zip(ones, direct, strict=True))


def _wrong(door: Door, answered: Answered) -> list[str]:
    wrong = [f"{door.name}: {answered.errors} errors ({answered.first_error})"] if answered.errors else []
    if door.audit is not None and not door.audit():
        wrong.append(f"the books are not clean: {door.name}")
    return wrong
