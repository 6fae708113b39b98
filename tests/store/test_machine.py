"""A short run of the state machine on both databases; `make state-machine` makes long ones."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import postgres
from tests.store import machine
from tests.store.model import Model
from tests.store.rules import OnSqlite, on_postgres

SHORT = settings(stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def url() -> Iterator[str]:
    url = postgres.migrated_database()
    yield url
    postgres.drop(url)


def test_any_order_of_verbs_keeps_the_books_right_on_sqlite() -> None:
    run_state_machine_as_test(OnSqlite, settings=settings(SHORT, max_examples=60))


def test_any_order_of_verbs_keeps_the_books_right_on_postgres(url: str) -> None:
    with on_postgres(url) as here:
        run_state_machine_as_test(here, settings=settings(SHORT, max_examples=20))


@pytest.mark.parametrize("count", ["0", "-5", "ten", ""])
def test_a_count_that_is_none_is_refused_with_exit_code_2(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        machine.main(["--steps", count])

    assert end.value.code == 2
    assert "from 1 on" in capsys.readouterr().err or count.startswith("-")


def test_a_long_run_says_how_many_steps_it_made_and_by_which_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.main(["--steps", "100", "--seed", "7"]) == 0

    assert re.fullmatch(
        r"state-machine: \d+ steps \(\d+ on SQLite, \d+ on PostgreSQL\), no invariant broken, seed 7, \d+ s\n",
        capsys.readouterr().out,
    )


def test_an_invariant_that_breaks_ends_the_run_with_1_and_the_way_to_repeat_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "held", lambda self, wallet: 1)

    assert machine.main(["--steps", "20", "--seed", "7"]) == 1
    told = capsys.readouterr()
    assert "an invariant broke; again with --steps 20 --seed 7" in told.out
    assert "the_books_are_the_models" in told.err
