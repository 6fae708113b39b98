"""A short run of the state machine on both databases; `make state-machine` makes long ones."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import postgres
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
    with on_postgres(url) as machine:
        run_state_machine_as_test(machine, settings=settings(SHORT, max_examples=20))
