"""What the programs of the proof share: their options, their last line, and how they end.

    0   every invariant held          1   one broke: what, where, and the seed to repeat it
    2   bad input, or a missing server    130   interrupted: what was seen so far

One rule: a figure says with which seed and of which commit it is.
"""

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.faults.judge import Verdict
from tests.faults.replica import Refused

KINDS = ("lost", "double", "wrong", "held")
SHOWN_MAX = 20


class Unusable(Exception):
    """The machine lacks what was asked for."""


class Tally:
    """What a run has seen so far."""

    def __init__(self, what: str, seed: int) -> None:
        self.what = what
        self.seed = seed
        self.done = 0
        self.details: dict[str, int] = {}
        self.calls = 0
        self.settled = 0
        self.counts = dict.fromkeys(KINDS, 0)
        self.broken: list[str] = []

    def add(self, verdict: Verdict) -> None:
        self.calls += verdict.calls
        self.settled += verdict.settled
        self.broken += verdict.broken
        for kind in KINDS:
            self.counts[kind] += verdict.counts.get(kind, 0)

    def line(self) -> str:
        """The figure."""
        details = "".join(f", {name} {count:,}" for name, count in sorted(self.details.items()))
        counts = ", ".join(f"{kind} {count}" for kind, count in self.counts.items())
        return (
            f"{self.what}: {self.done:,} {_PLURAL[self.what]}, {self.calls:,} calls, {self.settled:,} settled, {counts}"
            f"{details}, seed {self.seed}, commit {commit()}"
        )


_PLURAL = {"kill": "kills", "race": "rounds", "pg-restarts": "restarts"}


def positive(text: str) -> int:
    """A count of at least one."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count: a whole number from 1 on")
    return int(text)


def parser(name: str, what: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m tests.faults.{name}", description=what)
    made.add_argument("--seed", type=positive, default=1, help="what everything is drawn from (default: 1)")
    return made


def with_database(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    made.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite", help="default: sqlite")
    return made


def tell(text: str) -> None:
    """Progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def carry_out(run: Coroutine[Any, Any, None], tally: Tally) -> int:
    """Run it to its end, say how it went, and give the exit code."""
    # Whoever stops us by SIGTERM wants what Ctrl-C does: no child may be left behind. A shell that starts us beside
    # itself has told us to ignore the latter.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        asyncio.run(run)
    except KeyboardInterrupt:
        tell("interrupted; what was judged until then:")
        sys.stdout.write(tally.line() + "\n")
        return 130
    except (Unusable, Refused) as error:
        tell(f"faults: {error}")
        return 2 if isinstance(error, Unusable) else 1
    for sentence in tally.broken[:SHOWN_MAX]:
        tell(f"  {sentence}")
    if len(tally.broken) > SHOWN_MAX:
        tell(f"  ... and {len(tally.broken) - SHOWN_MAX} more")
    sys.stdout.write(tally.line() + "\n")
    return 1 if tally.broken else 0


def commit() -> str:
    """What is measured; with a + when the sources were changed since."""
    root = Path(__file__).parents[2]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        at = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, check=True, capture_output=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src"], cwd=root, check=False)
        return at.stdout.decode().strip() + ("+" if changed.returncode else "")
    return "unknown"
