"""Connections to PostgreSQL: the statements' own words, limits on every wait, and readers that cannot write."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from faregate.core.errors import NotReady
from faregate.store import postgres
from faregate.store.postgres import Connection, Readers, connect, translated
from tests.postgres import URL
from tests.store.line import Line
from tests.store.raw import PostgresRaw


@pytest.fixture
async def readers(database: Path) -> AsyncIterator[Readers]:
    readers = Readers((database / URL).read_text())
    yield readers
    readers.close()


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


@pytest.mark.parametrize(("reads", "statement_ms"), [(False, postgres.STATEMENT_MS), (True, postgres.SCAN_MS)])
def test_every_wait_has_a_limit(database: Path, reads: bool, statement_ms: int) -> None:  # noqa: FBT001 - a parameter
    given = postgres.options(name="a test", reads=reads)
    with psycopg.connect((database / URL).read_text(), autocommit=True, **given) as raw:
        settings = {
            name: raw.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone()
            for name in ("lock_timeout", "statement_timeout", "default_transaction_read_only", "application_name",
                         "idle_in_transaction_session_timeout")
        }  # fmt: skip

    assert settings == {
        "lock_timeout": (str(postgres.LOCK_MS),),
        "statement_timeout": (str(statement_ms),),
        "default_transaction_read_only": ("on" if reads else "off",),
        "application_name": ("a test",),
        "idle_in_transaction_session_timeout": (str(postgres.SCAN_MS),),
    }


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
    readers.close()
    with pytest.raises(NotReady):
        await readers.point("SELECT 1", ())
