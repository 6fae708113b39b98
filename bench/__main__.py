"""The bench: `make bench`, or python -m bench [calls|...] [options]; `--help` of each says more.

    calls      what a call costs at each door, side by side: nginx, rolter, Faregate on both databases, LiteLLM

Tables go to standard output and progress to standard error; --write puts the tables into RESULTS.md and draws them.

    0   measured, without an error, the books clean          1   an answer was wrong, or the books are not clean
    2   bad arguments, or something is missing here          130 interrupted; every child is stopped
"""

import argparse
import resource
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

from bench import calls, calls_tables
from bench.loads import LOADS
from bench.processes import Unready
from bench.tables import Table


class Outcome(NamedTuple):
    tables: list[Table]
    wrong: list[str]
    """Sentences; any of them fails the run."""


def positive(text: str) -> int:
    """A count of at least one."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count: a whole number from 1 on")
    return int(text)


def count(text: str) -> int:
    """A count, or none."""
    return 0 if text == "0" else positive(text)


def among(known: dict[str, object]) -> Callable[[str], list[str]]:
    """A list of known names, divided by commas."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of: {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    kinds = made.add_subparsers(dest="kind", required=True)
    side = kinds.add_parser("calls", help="side by side")
    side.set_defaults(run=run_calls)
    side.add_argument("--requests", type=positive, default=4_000, help="plain calls at a door in a round (%(default)s)")
    side.add_argument("--concurrency", type=positive, default=32, help="callers (%(default)s)")
    side.add_argument("--rounds", type=positive, default=3, help="of all loads at all doors (%(default)s)")
    side.add_argument("--seconds-max", type=positive, default=60, help="for a load at a door (%(default)s)")
    side.add_argument("--streams", type=count, default=500, help="open at once for their memory; 0: none (%(default)s)")
    side.add_argument("--tls", action="store_true", help="upstream speaks TLS")
    side.add_argument("--doors", type=among({**calls.MAKERS}), default=list(calls.MAKERS), metavar="NAME,...")
    side.add_argument("--loads", type=among({**LOADS}), default=list(LOADS), metavar="NAME,...")
    for kind in kinds.choices.values():
        kind.add_argument("--write", action="store_true", help="write the tables into bench/RESULTS.md and draw them")
    return made


def run_calls(options: argparse.Namespace) -> Outcome:
    """Side by side."""
    seen = calls.run(options)
    wrong = [f"the books are not clean: {where}" for where in seen.unclean]
    for (load, door), samples in seen.samples.items():
        errors = [one.answered for one in samples if one.answered.errors]
        if errors:
            wrong.append(f"{load} at {door}: {sum(one.errors for one in errors)} errors ({errors[0].first_error})")
    return Outcome(calls_tables.tables(seen, options.loads, options.doors), wrong)


def interrupt(*_: object) -> None:
    """End the run, once: a second signal must not cut short the stopping of the children."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Measure and print."""
    words = sys.argv[1:]
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["calls", *words]
    options = parser().parse_args(words)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, interrupt)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        outcome: Outcome = options.run(options)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    except Unready as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    for table in outcome.tables:
        print(f"## {table.title}\n\n{table.markdown()}")
    for sentence in outcome.wrong:
        print(f"bench: {sentence}", file=sys.stderr)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
