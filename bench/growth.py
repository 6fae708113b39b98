"""Does a call cost more in a ledger that has grown? Small and large ledgers side by side, each behind its own gateway.

    small        10 receipts, 10 keys             receipts    so many receipts, all of one key
    keys         so many keys, ten a wallet       prices      so many price versions of the model that is called

Calls come from a thousand of the keys in turn, or from all where there are fewer. The ledgers are grown by the store's
own verbs (`seeds`), and audited at the end.
"""

import argparse
import asyncio
import contextlib
import time
from statistics import median
from typing import Final

from bench.door import Door
from bench.gateways import Gateway, config, gateway
from bench.jobs import Answered
from bench.loads import PLAIN
from bench.processes import Callers, callers, cpu, memory_kb
from bench.seeds import Grown, grow
from bench.stage import folder_and_upstream, tell
from bench.tables import Bar, Table, number, span

SMALL: Final = 10
CALLING_MAX: Final = 1_000
COLUMNS: Final = (
    "ledger", "receipts", "keys", "price versions", "CPU µs", "CPU ÷ small", "p50 ms", "p99 ms", "memory MB", "calls",
    "errors",
)  # fmt: skip


def run(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """The table, and what is wrong."""
    sizes = {
        "small": (SMALL, SMALL, 0),
        "receipts": (options.receipts, SMALL, 0),
        "keys": (SMALL, options.keys, 0),
        "prices": (SMALL, SMALL, options.prices),
    }
    samples = dict[str, list[tuple[Answered, float]]]()
    wrong, memory = list[str](), dict[str, int]()
    with contextlib.ExitStack() as stack:
        folder, to = stack.enter_context(folder_and_upstream())
        ledgers = dict[str, tuple[Door, Gateway, Grown]]()
        for name, (receipts, keys, prices) in sizes.items():
            own, began = folder / name, time.monotonic()
            own.mkdir()
            config(to, own)
            calling = min(keys, CALLING_MAX)
            grown = asyncio.run(grow(own, receipts=receipts, keys=keys, prices=prices, calling=calling))
            tell(f"{name}: grown in {time.monotonic() - began:.1f} s")
            ledgers[name] = (*stack.enter_context(gateway(to, own, name=name)), grown)
        by = stack.enter_context(callers())
        for turn in range(options.rounds + 1):  # The first warms: each key is looked up once.
            for name, (door, _, grown) in ledgers.items():
                tell(f"round {turn}: {name}")
                sample = measured(by, door, grown, max(options.requests, len(grown.calling)), options.concurrency)
                if turn:
                    samples.setdefault(name, []).append(sample)
                if sample[0].errors:
                    wrong.append(f"{name}: {sample[0].errors} errors ({sample[0].first_error})")
        for name, (door, running, _) in ledgers.items():
            assert door.pid is not None
            memory[name] = memory_kb(door.pid)
            tell(f"audit: {name}")
            if not running.audit():
                wrong.append(f"the books are not clean: {name}")
        rows = [row(name, ledgers[name][2], samples[name], samples["small"], memory[name]) for name in sizes]
    bars = [Bar("", name, median(used for _, used in ones)) for name, ones in samples.items()]
    return [Table("Growth", COLUMNS, tuple(rows), tuple(bars), "CPU µs a call")], wrong


def measured(by: Callers, door: Door, grown: Grown, count: int, concurrency: int) -> tuple[Answered, float]:
    """Plain calls, and the CPU of each in microseconds."""
    assert door.pid is not None
    job = PLAIN.job(door.url, {}, keys=grown.calling, count=count, concurrency=concurrency)
    before = cpu(door.pid)
    answered = by.ask(job)
    return answered, cpu(door.pid).since(before) / max(1, answered.calls) * 1e6


def row(
    name: str, grown: Grown, ones: list[tuple[Answered, float]], small: list[tuple[Answered, float]], kb: int
) -> tuple[str, ...]:
    """One ledger."""
    ratios = [ours / theirs for (_, ours), (_, theirs) in zip(ones, small, strict=True) if theirs]
    return (
        name,
        number(grown.receipts, 0),
        number(grown.keys, 0),
        f"{grown.prices:,} more" if grown.prices else "shipped",
        number(median(used for _, used in ones), 0),
        span(ratios) if ratios else "-",
        number(median(one.whole.p50 for one, _ in ones)),
        number(median(one.whole.p99 for one, _ in ones)),
        number(kb / 1024, 1),
        number(sum(one.calls for one, _ in ones), 0),
        str(sum(one.errors for one, _ in ones)),
    )
