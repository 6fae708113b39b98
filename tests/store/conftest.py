"""The store's fixtures. A test that takes one of them is run on both databases; `tmp_path` alone is SQLite's.

folder   stands for one new ledger: opened twice, it is the same
store    an owner's store on it
raw      SQL on it, with a wallet in it
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from faregate.store.store import Store
from tests import postgres
from tests.store.books import URL, opening
from tests.store.raw import PostgresRaw, Raw, SqliteRaw


@pytest.fixture(params=["sqlite", "postgres"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "sqlite":
        yield tmp_path
        return
    url = postgres.migrated_database()
    (tmp_path / URL).write_text(url)
    yield tmp_path
    postgres.drop(url)


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[Store]:
    async with opening(folder) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Raw]:
    if request.param == "postgres":
        yield request.getfixturevalue("postgres_raw")
        return
    connection = SqliteRaw(tmp_path / "raw.db")
    yield connection
    connection.close()


@pytest.fixture
def postgres_raw(postgres_raws: PostgresRaw) -> PostgresRaw:
    """SQL on PostgreSQL alone, in one database that is emptied for each test."""
    postgres_raws.empty()
    return postgres_raws


@pytest.fixture(scope="session")
def postgres_raws() -> Iterator[PostgresRaw]:
    url = postgres.migrated_database()
    connection = PostgresRaw(url)
    yield connection
    connection.close()
    postgres.drop(url)
