"""Short counts of the proof, and its programs' manners: they end in a figure, in a named fault, or in a clear error.

Method: the same programs as `make kill`, `make race` and `make pg-restarts`, on real processes; and a gateway that is
made to lie, so that the proof is seen to notice.
"""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import faregate
from tests.faults import kill, pg_restarts, race
from tests.faults.house import fresh, house
from tests.faults.launch import POINTS
from tests.faults.options import Tally
from tests.faults.replica import ROOT, Replica

DATABASES = ["sqlite", "postgres"]


@pytest.mark.parametrize("db", DATABASES)
async def test_a_gateway_that_is_killed_under_load_loses_nothing(db: str) -> None:
    tally = Tally("kill", 11)
    await kill.kills(3, db=db, seed=11, tally=tally)

    assert tally.broken == []
    assert tally.done == 3 and tally.calls > 24 and tally.settled > 0


def test_what_is_killed_is_the_source_that_the_test_has_imported(tmp_path: Path) -> None:
    replica = Replica(tmp_path, upstream="http://127.0.0.1:1", database_url=None)
    program = [sys.executable, "-c", "import faregate; print(faregate.__file__, end='')"]

    assert subprocess.check_output(program, env=replica.environ, cwd=ROOT, text=True) == faregate.__file__


@pytest.mark.parametrize("db", DATABASES)
async def test_exactly_so_many_are_admitted_as_are_affordable(db: str) -> None:
    tally = Tally("race", 3)
    await race.rounds(6, db=db, seed=3, tally=tally, clients_max=48)

    assert tally.broken == []
    assert tally.done == 6 and tally.settled > 0


async def test_a_database_that_is_killed_under_load_loses_nothing() -> None:
    tally = Tally("pg-restarts", 5)
    await pg_restarts.restarts(2, seed=5, tally=tally)

    assert tally.broken == []
    assert tally.done == 2 and tally.settled > 0


@pytest.mark.parametrize("db", DATABASES)
async def test_a_life_ends_at_each_named_point_and_the_next_one_puts_it_right(tmp_path: Path, db: str) -> None:
    boot, either = ("migration", "boot sweep"), ("before COMMIT", "after COMMIT")
    async with house(tmp_path, await fresh(db), replicas=1, seed=1) as here:
        (replica,) = here.replicas
        for point in POINTS:
            served = await replica.start((point, 1))
            assert await replica.ended(20), f"nobody passed {point!r}"
            assert point in either or served == (point not in boot), point
            await replica.kill()
            if point == "migration":
                await replica.start()
                await here.open()
                here.call(8)
                await asyncio.sleep(0.5)  # some calls are under way, whichever
                await replica.kill()
        await replica.start()
        assert (await here.judge_callers()).broken == []


@pytest.mark.parametrize(
    ("program", "words", "says"),
    [
        ("kill", ["--kills", "0"], "'0' is not a count"),
        ("race", ["--rounds", "-3"], "'-3' is not a count"),
        ("pg_restarts", ["--restarts", "many"], "'many' is not a count"),
        ("kill", ["--db", "oracle"], "invalid choice: 'oracle'"),
        ("race", ["--seed", "x"], "'x' is not a count"),
    ],
)
def test_bad_input_is_named(program: str, words: list[str], says: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{program}", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert says in ran.stderr and "Traceback" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize("program", ["kill", "race"])
def test_a_server_that_is_not_there_is_named_with_the_way_out(program: str, tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "FAREGATE_TEST_DATABASE_URL": f"postgresql:///none?host={tmp_path}"}
    ran = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{program}", "--db", "postgres"],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode == 2
    assert "there is no PostgreSQL server to use" in ran.stderr and "FAREGATE_TEST_DATABASE_URL" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_it_is_told_what_was_seen_and_no_child_is_left(number: signal.Signals) -> None:
    ran = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.kill", "--kills", "500"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        children = Path(f"/proc/{ran.pid}/task/{ran.pid}/children")
        while not (found := children.read_text().split()):
            pass
        ran.send_signal(number)
        out, err = ran.communicate(timeout=60)
    finally:
        ran.kill()
        ran.wait()

    assert ran.returncode == 130
    assert "interrupted" in err and "Traceback" not in err
    assert out.startswith("kill: ")
    assert not [child for child in found if Path(f"/proc/{child}").exists()]
