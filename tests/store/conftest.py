"""The store's fixtures. A test that takes `folder` (tests/conftest.py) or one of these is run on both databases.

store    an owner's store on it
raw      SQL on a ledger, with a wallet in it
twins    the same with a second wallet, in which all has the same names
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from faregate.store.store import Store
from tests import postgres
from tests.postgres import URL
from tests.store.books import WALLET, opening
from tests.store.line import Line, line_to
from tests.store.raw import PostgresRaw, Raw, SqliteRaw
from tests.store.twins import LIMIT, other


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[Store]:
    async with opening(folder) as opened:
        while not opened.keys._trusted:  # noqa: ASYNC110 - on PostgreSQL until it listens
            await asyncio.sleep(0)
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


@pytest.fixture
def empty() -> Iterator[str]:
    """The URL of a PostgreSQL database with nothing in it."""
    url = postgres.fresh_database()
    yield url
    postgres.drop(url)


@pytest.fixture
def line(database: Path) -> Iterator[Line]:
    """A line to `database` that can be cut."""
    with line_to((database / URL).read_text()) as line:
        yield line


@pytest.fixture
def own_server() -> Iterator[postgres.Server]:
    """A server that a test may stop and start. Its folder is short of name: a socket's path is."""
    folder = Path(tempfile.mkdtemp(prefix="faregate-pg-"))
    server = postgres.Server(folder, settings=postgres.HASTY)
    yield server
    server.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def twins(raw: Raw) -> Raw:
    """A second wallet with 1,000 in it and a key, and in both a limit `l` of 500."""
    raw.do(
        "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'w', 0, 0)",
        "INSERT INTO key(wallet_id, id, digest, name, models, allow_ips, deny_ips, created_at) "
        f"VALUES ('w', 'k', x'{'11' * 32}', 'k', '[]', '[]', '[]', 0)",
        other(raw.transfer("ref:2", "topup", ("world", WALLET), 1_000)),
        LIMIT.format(WALLET),
        LIMIT.format("w"),
        raw.transfer("cap:l", "cap", ("limits", "l"), 500),
    )
    return raw
