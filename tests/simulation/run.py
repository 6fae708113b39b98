"""The simulation as a whole: so many requests, divided among worlds, each with a ledger of its own.

The rule: a world is drawn from the seed and its number alone, so worlds may run in any order and on any number of
cores, and one that breaks can be run again by itself. The figure is the sum, and the hash goes over theirs in order.

    simulate(requests=100_000, seed=1, jobs=2) -> Summary
"""

import hashlib
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock

from faregate.store import sqlite
from tests.simulation.world import Verdict, World

WORLD_REQUESTS: Final = 500
"""Requests in one world: large enough for some ten lives, small enough that all books are read after each."""

MEMORY: Final = Path("/dev/shm")
"""A disk of memory, where there is one. No machine dies here, so no file has to survive that."""


class Share(NamedTuple):
    """What one world is to do."""

    seed: int
    number: int
    requests: int


class Summary(NamedTuple):
    """What was seen."""

    requests: int = 0
    crashes: int = 0
    stops: int = 0
    broken: tuple[str, ...] = ()
    ledger: str = ""

    def line(self, seed: int, commit: str) -> str:
        return (
            f"simulate: {self.requests:,} requests, {self.crashes:,} crashes, {self.stops:,} stops, "
            f"{len(self.broken)} broken, ledger {self.ledger[:16] or 'none'}, seed {seed}, commit {commit}"
        )


def shares(requests: int, seed: int) -> list[Share]:
    """Divide the requests among worlds; the last gets the rest."""
    assert requests > 0
    whole, rest = divmod(requests, WORLD_REQUESTS)
    sizes = [WORLD_REQUESTS] * whole + ([rest] if rest else [])
    return [Share(seed, number, size) for number, size in enumerate(sizes)]


def simulate(work: list[Share], *, jobs: int = 1, seen: Callable[[Summary], None] | None = None) -> Summary:
    """Run these worlds. `seen` is told after each; the first that breaks is the last."""
    summary = Summary()
    if jobs == 1 or len(work) == 1:
        return _sum(summary, zip(work, map(world, work), strict=True), seen)
    # Ctrl-C reaches all of the group, and is for whoever counts.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with multiprocessing.get_context("spawn").Pool(jobs, signal.signal, deaf) as pool:
        return _sum(summary, zip(work, pool.imap(world, work), strict=True), seen)


def _sum(
    summary: Summary, verdicts: Iterable[tuple[Share, Verdict]], seen: Callable[[Summary], None] | None
) -> Summary:
    for share, verdict in verdicts:
        summary = Summary(
            requests=summary.requests + verdict.requests,
            crashes=summary.crashes + verdict.crashes,
            stops=summary.stops + verdict.stops,
            broken=tuple(f"world {share.number}: {what}" for what in verdict.broken),
            ledger=hashlib.sha256((summary.ledger + verdict.ledger).encode()).hexdigest(),
        )
        if seen is not None:
            seen(summary)
        if summary.broken:
            break
    return summary


def world(share: Share) -> Verdict:
    """Run one world, in a folder that is gone afterwards."""
    folder = MEMORY if os.access(MEMORY, os.W_OK) else None
    # A foreign lock is waited for by the real clock, for which no time passes here.
    patience = mock.patch.object(sqlite, "BUSY_WAIT_MS", 0)
    with patience, tempfile.TemporaryDirectory(dir=folder, prefix="faregate-world-") as place:
        return World(Path(place), f"{share.seed}/{share.number}", share.requests).run()
