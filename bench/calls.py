"""What a call costs at each door, side by side in one run.

    for each round, for each load, for each door: the calls, their CPU, their latency, the audit of the books

One rule: the doors take turns, so that what the machine does beside is seen by all of them. A figure is the median of
its rounds, and a ratio is taken within a round.
"""

import argparse
from typing import Final

from bench import calls_tables
from bench.calls_tables import Resting, Sample, Seen
from bench.door import Door
from bench.jobs import Job
from bench.loads import LOADS, PLAIN, Load
from bench.processes import Callers, callers, cpu, memory_kb
from bench.stage import opened, tell
from bench.tables import Table

WARM_CALLS: Final = 200
CALLS_MIN: Final = 20


def measured(by: Callers, door: Door, load: Load, options: argparse.Namespace) -> Sample:
    """One load at one door."""
    job = job_of(door, load, options)
    before = [cpu(pid) for pid in (door.pid, door.database_pid) if pid]
    answered = by.ask(job)
    after = [cpu(pid) for pid in (door.pid, door.database_pid) if pid]
    used = [late.since(early) / max(1, answered.calls) * 1e6 for late, early in zip(after, before, strict=True)]
    return Sample(answered, *[*used, 0.0, 0.0][:2])


def job_of(door: Door, load: Load, options: argparse.Namespace, *, count: int | None = None) -> Job:
    """As many calls as the load and the door should have."""
    concurrency = min(max(options.concurrency, load.concurrency_min), door.concurrency_max, options.requests)
    wanted = max(concurrency, int(options.requests * load.share * door.share), min(CALLS_MIN, options.requests))
    return load.job(
        door.url,
        door.headers,
        ca_file=door.ca_file,
        count=wanted if count is None else min(wanted, count),
        concurrency=concurrency,
        seconds_max=options.seconds_max,
    )


def resting(by: Callers, door: Door, streams: int) -> Resting:
    """The memory of a door that has answered a call or two, and of streams that are only open."""
    assert door.pid is not None
    count = max(1, int(streams * min(1.0, door.share * 5)))
    # As long as a slow door takes to open them all.
    pid, held = door.pid, Load("held", events=2 + count // 20, gap_ms=500)
    rest, peak = memory_kb(pid), 0

    def watch() -> None:
        nonlocal peak
        peak = max(peak, memory_kb(pid))

    job = held.job(
        door.url, door.headers, ca_file=door.ca_file, count=count, concurrency=count, seconds_max=30, ramp_s=2
    )
    by.ask(job, watch=watch, every_s=0.5)
    return Resting(rest, max(0, peak - rest) / count, count)


def run(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """The tables, and what is wrong."""
    seen = measure(options)
    wrong = [f"the books are not clean: {where}" for where in seen.unclean]
    for (load, door), samples in seen.samples.items():
        errors = [one.answered for one in samples if one.answered.errors]
        if errors:
            wrong.append(f"{load} at {door}: {sum(one.errors for one in errors)} errors ({errors[0].first_error})")
    title = "What a call costs" + (", upstream over TLS" if options.tls else "")
    return calls_tables.tables(seen, title, options.loads, options.doors), wrong


def measure(options: argparse.Namespace) -> Seen:
    """Measure it all."""
    seen = Seen()
    with opened(options.doors, seen.missing, tls=options.tls) as found, callers() as by:
        for door in found:
            by.ask(job_of(door, PLAIN, options, count=1))
            if door.pid is not None and options.streams:
                tell(f"memory of {door.name}")
                seen.resting[door.name] = resting(by, door, options.streams)
        for name in options.loads:
            for door in found:
                by.ask(job_of(door, LOADS[name], options, count=WARM_CALLS))
        for turn in range(1, options.rounds + 1):
            for name in options.loads:
                for door in found:
                    tell(f"round {turn}: {name} at {door.name}")
                    sample = measured(by, door, LOADS[name], options)
                    seen.samples.setdefault((name, door.name), []).append(sample)
                    if sample.answered.errors:
                        tell(f"  {sample.answered.errors} errors: {sample.answered.first_error}")
                    if door.audit is not None and not door.audit():
                        seen.unclean.append(f"{name} at {door.name}, round {turn}")
    return seen
