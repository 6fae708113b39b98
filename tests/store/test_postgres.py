"""Connections to PostgreSQL: the statements' own words, limits on every wait, and readers that cannot write."""

import asyncio
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faregate.core.errors import NotReady
from faregate.store import postgres
from faregate.store.postgres import READERS_MAX, Connection, Readers, connect, translated
from tests import postgres as servers
from tests.postgres import URL
from tests.store.line import Line
from tests.store.raw import PostgresRaw


@pytest.fixture
async def readers(database: Path) -> AsyncIterator[Readers]:
    readers = Readers((database / URL).read_text())
    yield readers
    await readers.close()


def test_a_question_mark_is_a_value_and_nothing_else_changes() -> None:
    assert translated("SELECT a FROM b WHERE c = ?") == (b"SELECT a FROM b WHERE c = %s", True)
    assert translated("SELECT a FROM b WHERE c LIKE 'x%'") == (b"SELECT a FROM b WHERE c LIKE 'x%'", True)
    assert translated("\nWITH a AS (SELECT 1) SELECT 2")[1]
    assert not translated("UPDATE a SET b = ?")[1] and not translated("INSERT INTO a SELECT 1")[1]
    with pytest.raises(AssertionError):
        translated("SELECT a FROM b WHERE c LIKE 'x%' AND d = ?")


def test_a_connection_knows_whether_anything_was_written(postgres_raw: PostgresRaw) -> None:
    connection = Connection(postgres_raw.connection.raw)
    connection.execute("SELECT 1")
    assert connection.writes == 0
    connection.execute("UPDATE node SET seen_at = ?", (5,))
    assert connection.writes == 1


def test_what_gave_no_rows_has_none_and_an_error_is_an_error_in_a_pipeline_too(postgres_raw: PostgresRaw) -> None:
    connection = postgres_raw.connection
    done = connection.execute("UPDATE node SET seen_at = 5")
    assert (done.fetchone(), done.fetchall(), list(done), done.rowcount) == (None, [], [], 0)
    with connection.raw.pipeline():
        done = connection.execute("UPDATE account SET name = name WHERE id = ?", ("world",))
        assert (done.rowcount, done.fetchone(), done.fetchall()) == (1, None, [])
        assert connection.execute("SELECT ? + 1", (1,)).fetchone() == (2,)
    with pytest.raises(psycopg.errors.UndefinedTable), connection.raw.pipeline():
        connection.execute("SELECT 1 FROM nowhere").fetchone()


def said(connection: Connection, *names: str) -> dict[str, str]:
    """How a session is set."""
    found = {name: connection.execute("SELECT setting FROM pg_settings WHERE name = ?", (name,)) for name in names}
    return {name: cursor.fetchone()[0] for name, cursor in found.items()}


@pytest.mark.parametrize("reads", [False, True])
def test_every_wait_has_a_limit(database: Path, reads: bool) -> None:  # noqa: FBT001 - a parameter
    given = {
        "lock_timeout": str(postgres.LOCK_MS),
        "statement_timeout": "1234",
        "default_transaction_read_only": "on" if reads else "off",
        "application_name": "a test",
        "idle_in_transaction_session_timeout": str(postgres.IDLE_MS),
    }
    connection = connect((database / URL).read_text(), name="a test", reads=reads, statement_ms=1_234)
    assert said(connection, *given) == given
    connection.close()


async def test_a_snapshot_may_take_longer_than_a_list(readers: Readers) -> None:
    def limit(connection: Connection) -> str:
        return said(connection, "statement_timeout")["statement_timeout"]

    assert await readers.scan(limit) == str(postgres.STATEMENT_MS)
    assert await readers.snapshot(limit) == str(postgres.SCAN_MS)
    assert await readers.scan(limit) == str(postgres.STATEMENT_MS)


async def test_snapshots_leave_a_connection_to_callers(readers: Readers) -> None:
    done = threading.Event()
    slow = [asyncio.create_task(readers.snapshot(lambda _: done.wait(60))) for _ in range(READERS_MAX)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(30):
            assert await readers.point("SELECT 1", ()) == (1,)
    finally:
        done.set()
    assert all(await asyncio.gather(*slow))


def test_a_server_notices_that_our_machine_has_vanished() -> None:
    folder = Path(tempfile.mkdtemp(prefix="faregate-pg-"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = servers.Server(folder, settings=f"{servers.HASTY} -h 127.0.0.1 -p {port}")
    try:
        connection = connect(f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        assert list(said(connection, *names).values()) == ["10", "5", "3", "15000"]
        connection.close()
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("chosen", "used"),
    [("off", "on"), ("local", "on"), ("on", "on"), ("remote_write", "remote_write"), ("remote_apply", "remote_apply")],
)
def test_what_is_written_is_durable_whatever_the_database_is_set_to(database: Path, chosen: str, used: str) -> None:
    url = (database / URL).read_text()
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f'ALTER DATABASE "{owner.info.dbname}" SET synchronous_commit = {chosen}'.encode())
    connection = connect(url)
    assert said(connection, "synchronous_commit") == {"synchronous_commit": used}
    connection.close()


async def test_what_is_being_read_is_ended_by_a_stop(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SCAN_MS", 30_000)
    begun = threading.Event()

    def read(connection: Connection) -> Any:
        begun.set()
        return connection.execute("SELECT pg_sleep(600)").fetchone()

    reading = [asyncio.create_task(readers.snapshot(read)), asyncio.create_task(readers.snapshot(read))]
    assert await asyncio.to_thread(begun.wait, 30)
    await readers.close()

    for task in reading:
        with pytest.raises(NotReady) as refusal:
            await task
        assert "statement timeout" not in str(refusal.value.__cause__)


async def test_a_read_of_many_statements_is_ended_between_two_of_them(readers: Readers) -> None:
    begun, closing, given_up = threading.Event(), threading.Event(), threading.Event()

    def read(connection: Connection) -> Any:
        begun.set()
        assert closing.wait(30)
        while not given_up.is_set():
            connection.execute("SELECT 1").fetchone()

    reading = asyncio.create_task(readers.scan(read))
    assert await asyncio.to_thread(begun.wait, 30)
    ending = asyncio.create_task(readers.close())
    asyncio.get_running_loop().call_later(0, closing.set)  # The loop goes on while it is closed.
    await asyncio.wait([reading], timeout=30)
    given_up.set()
    await ending

    with pytest.raises(NotReady):
        await reading


@pytest.mark.parametrize("reads", [False, True])
def test_texts_travel_in_utf_8_whatever_the_environment_says(
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    reads: bool,  # noqa: FBT001 - a parameter
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    connection = connect((database / URL).read_text(), reads=reads)

    assert connection.execute("SELECT ?", ("\u65e5\u672c",)).fetchone() == ("\u65e5\u672c",)
    connection.close()


def test_every_size_of_number_is_one_prepared_statement(database: Path) -> None:
    connection = connect((database / URL).read_text())
    for number in (1, 40_000, 3_000_000_000, -5, 1 << 60):
        for _ in range(6):
            connection.execute("SELECT ?", (number,)).fetchone()
    kept = connection.execute("SELECT COUNT(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1'").fetchone()
    connection.close()

    assert kept == (1,)


async def test_a_reader_reads_a_row_a_list_and_one_state_of_it_all(readers: Readers, database: Path) -> None:
    assert await readers.point("SELECT name FROM account WHERE id = ?", ("world",)) == ("world",)
    assert await readers.point("SELECT name FROM account WHERE id = ?", ("nobody",)) is None
    count = "SELECT COUNT(*) FROM node"
    writer = connect((database / URL).read_text())

    def twice(connection: Connection) -> list[int]:
        before = connection.execute(count).fetchone()[0]
        writer.execute("INSERT INTO node(name, incarnation, started_at, seen_at) VALUES ('x' || ?, 1, 1, 1)",
                       (str(len(seen)),))  # fmt: skip
        return [before, connection.execute(count).fetchone()[0]]

    seen: list[list[int]] = []
    seen.append(await readers.snapshot(twice))
    seen.append(await readers.scan(twice))
    writer.close()
    assert seen == [[0, 0], [1, 2]]


async def test_a_reader_cannot_write(readers: Readers) -> None:
    for run in (readers.scan, readers.snapshot):
        with pytest.raises(NotReady):
            await run(lambda connection: connection.execute("UPDATE node SET seen_at = 5"))


async def test_readers_whose_database_is_away_say_so_and_at_once_to_those_who_come_after(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "AWAY_NS", 10**15)
    readers = Readers(line.url)
    assert await readers.point("SELECT 1", ()) == (1,)
    line.down()
    with pytest.raises(NotReady):
        await readers.point("SELECT 1", ())
    line.up()
    with pytest.raises(NotReady) as refusal:  # nobody asks the database again so soon
        await readers.point("SELECT 1", ())
    assert isinstance(refusal.value.__cause__, TimeoutError)
    monkeypatch.setattr(readers, "_away_until_ns", 0)

    async with asyncio.timeout(30):
        while True:
            try:
                assert await readers.point("SELECT 1", ()) == (1,)
                break
            except NotReady:
                readers._away_until_ns = 0
                await asyncio.sleep(0.05)
    await readers.close()
    with pytest.raises(NotReady):
        await readers.point("SELECT 1", ())
