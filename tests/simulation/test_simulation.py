"""The whole gateway, on a virtual clock, with everything going wrong around it: not a credit is lost or made.

Method: short runs of what `make simulate` does at length.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import WORLD_REQUESTS, Share, shares, simulate, world

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_books_are_right_after_every_life_of_a_gateway(seed: int) -> None:
    summary = simulate([Share(seed, number, 300) for number in range(2)])

    assert summary.broken == ()
    assert summary.requests == 600
    assert summary.crashes > 0
    assert summary.stops > 0


def test_the_same_seed_gives_the_same_ledger_and_another_seed_another() -> None:
    first, again, other = (world(Share(seed, 0, 200)) for seed in (7, 7, 8))

    assert first == again
    assert first.ledger != other.ledger


def test_requests_are_divided_to_the_last() -> None:
    assert sum(share.requests for share in shares(2 * WORLD_REQUESTS + 1, 1)) == 2 * WORLD_REQUESTS + 1
    assert len({share.number for share in shares(10 * WORLD_REQUESTS, 1)}) == 10


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_the_command_ends_in_one_line_and_the_ledger_does_not_depend_on_the_process() -> None:
    told = command("--requests", "60", "--seed", "3")

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("simulate: 60 requests, ")
    assert ", 0 broken, " in told.stdout
    assert simulate(shares(60, 3)).ledger[:16] in told.stdout


@pytest.mark.parametrize("count", ["0", "-5", "many", "1.5"])
def test_a_count_that_is_none_is_refused_with_a_sentence(count: str) -> None:
    told = command(f"--requests={count}")

    assert told.returncode == 2
    assert "a whole number from 1 on" in told.stderr


def test_a_world_that_does_not_exist_is_refused() -> None:
    told = command("--requests", "10", "--world", "1")

    assert told.returncode == 2
    assert "there are 1 worlds" in told.stderr


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupted_run_says_what_it_has_seen(jobs: str) -> None:
    arguments = [sys.executable, "-m", "tests.simulation", "--requests", "1000000", "--jobs", jobs]
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        assert "of 1,000,000 requests" in running.stderr.readline()
        os.killpg(running.pid, signal.SIGINT)
        told, rest = running.communicate(timeout=60)

    assert running.returncode == 130
    assert told.startswith("simulate: ")
    assert ", 0 broken, " in told
    assert "Traceback" not in rest


def test_more_processes_make_the_same_ledger() -> None:
    work = [Share(5, number, 60) for number in range(3)]

    assert simulate(work, jobs=2) == simulate(work)
