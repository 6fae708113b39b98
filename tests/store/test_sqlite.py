"""Connections: the writer's safety is on, and a reader cannot write."""

import sqlite3
from pathlib import Path

import pytest

from faregate.core.errors import NotReady
from faregate.store import sqlite
from faregate.store.sqlite import Readers


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_the_writer_is_durable_and_strict(tmp_path: Path) -> None:
    connection = sqlite.writer(tmp_path / "x.db")
    asked = ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "trusted_schema", "page_size")

    assert [pragma(connection, name) for name in asked] == ["wal", 2, 1, 1, 0, sqlite.PAGE_BYTES]
    connection.close()


def test_a_new_file_and_its_log_are_for_their_owner_alone_and_one_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    connection = sqlite.writer(tmp_path / "x.db")
    connection.execute("CREATE TABLE t(x)")
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    connection.close()
    assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}

    (tmp_path / "x.db").chmod(0o640)
    sqlite.writer(tmp_path / "x.db").close()
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o640


def test_a_reader_cannot_write_nor_make_a_file(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        sqlite.reader(tmp_path / "x.db")
    writer = sqlite.writer(tmp_path / "x.db")
    writer.execute("CREATE TABLE t(x)")
    reader = sqlite.reader(tmp_path / "x.db")
    assert (pragma(reader, "query_only"), pragma(reader, "wal_autocheckpoint")) == (1, 0)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO t VALUES (1)")
    reader.close()
    writer.close()


def test_a_path_with_odd_letters_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a b?mode=memory#c%20"
    folder.mkdir()
    sqlite.writer(folder / "x.db").close()

    assert (folder / "x.db").exists()


async def test_a_read_that_fails_is_not_ready(tmp_path: Path) -> None:
    sqlite.writer(tmp_path / "x.db").close()
    readers = Readers(tmp_path / "x.db")
    with pytest.raises(NotReady) as refused:
        await readers.point("SELECT * FROM nothing", ())
    assert (refused.value.code, refused.value.retry_after_s) == ("database_unavailable", 1)
    with pytest.raises(NotReady):
        await readers.scan(lambda connection: connection.execute("SELECT * FROM nothing"))
    await readers.close()


async def test_readers_see_what_was_committed(tmp_path: Path) -> None:
    writer = sqlite.writer(tmp_path / "x.db")
    writer.execute("CREATE TABLE t(x)")
    readers = Readers(tmp_path / "x.db")
    assert await readers.point("SELECT x FROM t", ()) is None
    writer.execute("INSERT INTO t VALUES (7)")

    assert await readers.point("SELECT x FROM t WHERE x = ?", (7,)) == (7,)
    assert await readers.scan(lambda connection: connection.execute("SELECT x FROM t").fetchall()) == [(7,)]
    await readers.close()
    writer.close()


async def test_a_snapshot_is_one_state_and_a_file_that_is_gone_is_not_ready(tmp_path: Path) -> None:
    writer = sqlite.writer(tmp_path / "x.db")
    writer.execute("CREATE TABLE t(x)")
    readers = Readers(tmp_path / "x.db")

    def look(connection: sqlite3.Connection) -> tuple[int, int]:
        count = "SELECT COUNT(*) FROM t"
        (before,) = connection.execute(count).fetchone()
        writer.execute("INSERT INTO t VALUES (7)")
        return before, connection.execute(count).fetchone()[0]

    assert await readers.snapshot(look) == (0, 0)
    assert await readers.point("SELECT COUNT(*) FROM t", ()) == (1,)
    await readers.close()
    writer.close()
    (tmp_path / "x.db").unlink()
    with pytest.raises(NotReady):
        await readers.snapshot(look)
