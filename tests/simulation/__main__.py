"""`python -m tests.simulation --requests 100000 --seed 1`: one line at the end, and 1 when an invariant is broken.

The order of sets and dictionaries of strings depends on a secret that Python draws at each start. It is fixed before
anything is imported that could depend on it, by starting once more.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

SAY_S = 2.0
"""Between two lines of progress."""


def main() -> int:
    """Read the command line and run."""
    arguments = _parser().parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from tests.simulation.run import Summary, shares, simulate

    work = shares(arguments.requests, arguments.seed)
    if arguments.world is not None:
        if arguments.world >= len(work):
            sys.exit(_refuse(f"WORLD: there are {len(work)} worlds in {arguments.requests} requests, counted from 0"))
        work = [work[arguments.world]]
    latest, interrupted = Summary(), False
    began, said = time.monotonic(), 0.0

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def seen(summary: Summary) -> None:
        nonlocal latest, said
        latest = summary
        if time.monotonic() - said > SAY_S:
            said = time.monotonic()
            rate = int(summary.requests / (said - began))
            _say(f"{summary.requests:,} of {arguments.requests:,} requests, {summary.crashes:,} crashes, {rate:,}/s")
        if interrupted:
            raise KeyboardInterrupt

    status = 0
    # A world is short: one that has begun is finished and counted. The second Ctrl-C does not wait.
    signal.signal(signal.SIGINT, interrupt)
    try:
        latest = simulate(work, jobs=arguments.jobs, seen=seen)
    except KeyboardInterrupt:
        _say("interrupted; this was seen until then")
        status = 130
    for what in latest.broken:
        _say(what)
    if latest.broken:
        number = latest.broken[0].split(":")[0].removeprefix("world ")
        _say(f"to repeat it: make simulate REQUESTS={arguments.requests} SEED={arguments.seed} WORLD={number}")
        status = 1
    sys.stdout.write(latest.line(arguments.seed, _commit()) + "\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make simulate", description="Run the whole gateway on a virtual clock.")
    parser.add_argument("--requests", type=_count, default=10_000, metavar="N", help="how many requests (1 or more)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the same seed gives the same ledger")
    parser.add_argument("--world", type=_number, metavar="N", help="only this part of it")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N", help="processes; the ledger is the same")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count: a whole number from 1 on")
    return int(text)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number: worlds are counted from 0 on")
    return int(text)


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _refuse(what: str) -> int:
    _say(f"make simulate: {what}")
    return 2


def _say(what: str) -> None:
    sys.stderr.write(what + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
