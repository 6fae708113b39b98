"""Does a call cost more in a ledger that has grown? Small and large ledgers side by side, each behind its own gateway.

    small        10 receipts, 10 keys in 10 wallets      receipts    so many receipts, of ten keys
    keys         so many keys and wallets                prices      so many price versions of the model that is called

Ten keys call in turn, from all over the ledger; where there are many, a thousand of them call as well, in a row of its
own. The ledgers are grown by the store's own verbs (`seeds`), and audited at the end.
"""

import argparse
import asyncio
import contextlib
import time
from statistics import median
from typing import Final, NamedTuple

from bench.door import Door
from bench.gateways import Gateway, config, gateway
from bench.jobs import Answered
from bench.loads import PLAIN
from bench.processes import Callers, callers, cpu, memory_kb
from bench.seeds import Grown, grow
from bench.stage import folder_and_upstream, tell
from bench.tables import Bar, Table, number, span

SMALL: Final = 10
MANY: Final = 1_000
COLUMNS: Final = (
    "ledger", "receipts", "keys", "calling", "price versions", "CPU µs", "CPU ÷ small", "p50 ms", "p99 ms",
    "memory MB", "calls", "errors",
)  # fmt: skip


class Ledger(NamedTuple):
    grown: Grown
    door: Door
    running: Gateway


class Line(NamedTuple):
    """A row of the table: calls from some keys of a ledger."""

    name: str
    ledger: Ledger
    calling: tuple[str, ...]
    samples: list[tuple[Answered, float]]


def run(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """The table, and what is wrong."""
    sizes = {
        "small": (SMALL, SMALL, 0),
        "receipts": (options.receipts, SMALL, 0),
        "keys": (SMALL, options.keys, 0),
        "prices": (SMALL, SMALL, options.prices),
    }
    wrong = list[str]()
    with contextlib.ExitStack() as stack:
        folder, to = stack.enter_context(folder_and_upstream())
        ledgers = dict[str, Ledger]()
        for name, (receipts, keys, prices) in sizes.items():
            own, began = folder / name, time.monotonic()
            own.mkdir()
            config(to, own)
            grown = asyncio.run(grow(own, receipts=receipts, keys=keys, prices=prices))
            tell(f"{name}: grown in {time.monotonic() - began:.1f} s")
            ledgers[name] = Ledger(grown, *stack.enter_context(gateway(to, own, name=name)))
        lines = [Line(name, ledger, ledger.grown.some(SMALL), []) for name, ledger in ledgers.items()]
        many = ledgers["keys"]
        lines.append(Line("keys, many calling", many, many.grown.some(MANY), []))
        by = stack.enter_context(callers())
        for turn in range(options.rounds + 1):  # The first warms: each key is looked up once.
            for line in lines:
                tell(f"round {turn}: {line.name}")
                sample = measured(by, line, options)
                if turn:
                    line.samples.append(sample)
                if sample[0].errors:
                    wrong.append(f"{line.name}: {sample[0].errors} errors ({sample[0].first_error})")
        rows = [row(line, lines[0]) for line in lines]
        for name, ledger in ledgers.items():
            tell(f"audit: {name}")
            if not ledger.running.audit():
                wrong.append(f"the books are not clean: {name}")
    bars = [Bar("", line.name, median(used for _, used in line.samples)) for line in lines]
    return [Table("Growth", COLUMNS, tuple(rows), tuple(bars), "CPU µs a call")], wrong


def measured(by: Callers, line: Line, options: argparse.Namespace) -> tuple[Answered, float]:
    """Plain calls, and the CPU of each in microseconds."""
    door = line.ledger.door
    assert door.pid is not None
    count = max(options.requests, len(line.calling))
    job = PLAIN.job(door.url, {}, keys=line.calling, count=count, concurrency=options.concurrency)
    before = cpu(door.pid)
    answered = by.ask(job)
    return answered, cpu(door.pid).since(before) / max(1, answered.calls) * 1e6


def row(line: Line, small: Line) -> tuple[str, ...]:
    """One ledger."""
    ones, grown, pid = line.samples, line.ledger.grown, line.ledger.door.pid
    assert pid is not None
    ratios = [ours / theirs for (_, ours), (_, theirs) in zip(ones, small.samples, strict=True) if theirs]
    return (
        line.name,
        number(grown.receipts, 0),
        number(grown.keys, 0),
        number(len(line.calling), 0),
        f"{grown.prices:,} more" if grown.prices else "shipped",
        number(median(used for _, used in ones), 0),
        span(ratios) if ratios else "-",
        number(median(one.whole.p50 for one, _ in ones)),
        number(median(one.whole.p99 for one, _ in ones)),
        number(memory_kb(pid) / 1024, 1),
        number(sum(one.calls for one, _ in ones), 0),
        str(sum(one.errors for one, _ in ones)),
    )
