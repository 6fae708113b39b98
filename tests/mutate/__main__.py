"""`python -m tests.mutate`: take every guard out in turn; some test must fail for each. 1 when a mutant lives.

Each mutant is tried on a copy of the repository. What is said of each on the way: its number and name, the test that
killed it, and how long that took; at the end one line.
"""

import argparse
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.mutate import guards, schema
from tests.mutate.bench import Bench, Verdict
from tests.mutate.mutant import ROOT, Mutant, Rotten
from tests.postgres import HASTY, Server


def main() -> int:
    """Read the command line and run."""
    arguments = _parser().parse_args()
    try:
        every = [*schema.mutants(), *guards.mutants()]
        same = schema.equivalents(every)
    except Rotten as rotten:
        return _refuse(str(rotten))
    wanted = _chosen(every, arguments.only, arguments.db)
    if not wanted:
        return _refuse(
            f"there is no mutant with {' '.join(arguments.only)!r} in its name or file for DB={arguments.db}"
        )
    if arguments.list:
        for mutant in wanted:
            sys.stdout.write(f"{mutant.name}{'   (equivalent)' if mutant.name in same else ''}\n")
        return 0
    os.nice(10)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        return _run([mutant for mutant in wanted if mutant.name not in same], wanted, arguments)
    except KeyboardInterrupt:
        _say("interrupted; nothing but the copies was touched, and they are gone")
        return 130


def _run(tried: list[Mutant], wanted: list[Mutant], arguments: argparse.Namespace) -> int:
    verdicts: list[Verdict] = []
    with _benches(arguments) as benches:
        files = sorted({test for mutant in tried for test in mutant.tests})
        if arguments.clean and (broken := benches[0].clean(files)):
            return _refuse(f"the tests fail without any mutant: {broken}", 1)
        for verdict in _tried(benches, tried):
            verdicts.append(verdict)
            _tell(verdict, len(verdicts), len(tried))
    alive = [verdict.mutant.name for verdict in verdicts if not verdict.killer and not verdict.stillborn]
    unfit = [verdict.mutant.name for verdict in verdicts if verdict.stillborn]
    for what, names in (("alive", alive), ("stillborn", unfit)):
        for name in names:
            _say(f"{what}: {name}")
    killed, seed = len(verdicts) - len(alive) - len(unfit), arguments.seed
    more = f", {len(unfit)} stillborn" if unfit else ""
    sys.stdout.write(
        f"mutate: {len(tried)} mutants, {killed} killed, {len(alive)} alive{more}, "
        f"{len(wanted) - len(tried)} equivalent, seed {seed}, commit {_commit()}\n"
    )
    return 1 if alive or unfit else 0


@contextlib.contextmanager
def _benches(arguments: argparse.Namespace) -> Iterator[list[Bench]]:
    """So many copies, and a PostgreSQL server for all of them; everything goes in the end."""
    folder = Path(tempfile.mkdtemp(prefix="faregate-mutate-"))
    folder.chmod(0o755)
    server = None
    benches: list[Bench] = []
    try:
        if arguments.db != "sqlite":
            (folder / "pg").mkdir()
            server = Server(folder / "pg", settings=HASTY)
        for number in range(arguments.jobs):
            benches.append(
                Bench(
                    folder / f"copy{number}",
                    server=server.url if server is not None else None,
                    seed=arguments.seed,
                    quick=arguments.quick,
                )
            )
        yield benches
    finally:
        for bench in benches:
            bench.stop()
        if server is not None:
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _tried(benches: list[Bench], mutants: list[Mutant]) -> Iterator[Verdict]:
    """Share the mutants among the benches."""
    left: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    done: queue.SimpleQueue[Verdict | BaseException] = queue.SimpleQueue()
    for mutant in mutants:
        left.put(mutant)

    def work(bench: Bench) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                mutant = left.get_nowait()
                try:
                    done.put(bench.try_out(mutant))
                except BaseException as error:
                    done.put(error)
                    return

    for bench in benches:
        threading.Thread(target=work, args=(bench,), daemon=True).start()
    for _ in mutants:
        verdict = done.get()
        if isinstance(verdict, BaseException):
            raise verdict
        yield verdict


def _chosen(every: list[Mutant], only: list[str], db: str) -> list[Mutant]:
    words = [word.lower() for word in only]
    return [
        mutant
        for mutant in every
        if (db == "both" or mutant.dialect in (None, db))
        and all(word in f"{mutant.name} {mutant.file}".lower() for word in words)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make mutate", description="Take every guard out; a test must fail for each.")
    parser.add_argument("--only", default=[], type=str.split, metavar="WORDS", help="those with all of these words")
    parser.add_argument("--db", choices=("sqlite", "postgres", "both"), default="both", help="which database's")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="Hypothesis draws from it")
    parser.add_argument("--jobs", type=int, choices=range(1, 65), default=1, metavar="N", help="how many at once")
    parser.add_argument("--quick", action="store_true", help="only the tests that are named beside each mutant")
    parser.add_argument(
        "--no-clean", dest="clean", action="store_false", help="the tests are known to pass as they are"
    )
    parser.add_argument("--list", action="store_true", help="say their names and run nothing")
    return parser


def _tell(verdict: Verdict, number: int, count: int) -> None:
    what = f"killed by {verdict.killer}" if verdict.killer else "ALIVE"
    if verdict.stillborn:
        what = f"STILLBORN: {verdict.stillborn}"
    _say(f"{number}/{count} {verdict.mutant.name}: {what}, {verdict.seconds:.1f} s")


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _refuse(what: str, status: int = 2) -> int:
    _say(f"make mutate: {what}")
    return status


def _say(what: str) -> None:
    sys.stderr.write(what + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
