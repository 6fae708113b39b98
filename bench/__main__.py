"""Measures the gateway beside its peers: python -m bench [WHAT] [options], or make bench ARGS="...".

Tables go to standard output and progress to standard error; --write puts those of a run in which nothing was wrong into
bench/RESULTS.md and draws them. A peer that is not here is installed into .venv/peers, and one that cannot be had is a
row that says why.

    0   measured, every answer whole, the books clean        1   an answer was not, or the books are not
    2   bad arguments, or Faregate did not serve             130 interrupted; every child is stopped
"""

import argparse
import resource
import signal
import sys
from collections.abc import Callable
from typing import Final

from bench import appraisal, calls, growth, options, results, solo, stalled, streams
from bench.processes import Unready
from bench.tables import Table

Run = Callable[[argparse.Namespace], tuple[list[Table], list[str]]]
RUNS: Final[dict[str, Run]] = {
    "calls": calls.run,
    "solo": solo.run,
    "streams": streams.run,
    "stalled": stalled.run,
    "growth": growth.run,
    "appraise": appraisal.run,
}


def main() -> int:
    """Measure and print."""
    words = sys.argv[1:]
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["calls", *words]
    asked = options.parser(str(__doc__)).parse_args(words)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, interrupt)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        tables, wrong = RUNS[asked.kind](asked)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    except Unready as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    for table in tables:
        print(f"## {table.title}\n\n{table.markdown()}")
    if asked.write and not wrong:
        results.write(tables, words)
    for sentence in wrong:
        print(f"bench: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


def interrupt(*_: object) -> None:
    """End the run, once: a second signal must not cut short the stopping of the children."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
