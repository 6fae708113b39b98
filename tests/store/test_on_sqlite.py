"""What SQLite says of a file that it cannot open, in a sentence for whoever runs this."""

import sqlite3
from pathlib import Path

import pytest

from faregate.store import on_sqlite, sqlite
from faregate.store.database import StoreRefused
from tests.store.books import fund, opening

FILE = Path("/data/faregate.db")


def error(name: str) -> sqlite3.Error:
    refusal = sqlite3.OperationalError("SQLite's own words")
    refusal.sqlite_errorname = name
    return refusal


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("SQLITE_NOTADB", "Give another file"),
        ("SQLITE_CANTOPEN", "Make the file and its folder writable"),
        ("SQLITE_READONLY_DIRECTORY", "Make the file and its folder writable"),
        ("SQLITE_PERM", "Make the file and its folder writable"),
        ("SQLITE_BUSY_SNAPSHOT", "Close that program first"),
        ("SQLITE_FULL", "Free some"),
        ("SQLITE_CORRUPT_VTAB", r"damaged \(SQLite's own words\). Restore it"),
        ("SQLITE_IOERR_READ", "Restore it"),
    ],
)
def test_each_failure_names_the_file_and_the_way_out(name: str, way_out: str) -> None:
    with pytest.raises(StoreRefused, match=way_out) as refusal:
        raise on_sqlite.refused(FILE, error(name))

    assert str(FILE) in str(refusal.value)


async def test_a_file_that_another_program_has_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 0)
    async with opening(tmp_path) as store:
        await fund(store, 1_000)
    other = sqlite3.connect(tmp_path / "faregate.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreRefused, match="is locked by another program"):
        async with opening(tmp_path):
            pass
    other.execute("ROLLBACK")
    other.close()
    async with opening(tmp_path) as store:
        assert store.incarnation == 2


async def test_a_large_file_is_not_read_page_by_page_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opening(tmp_path) as store:
        await fund(store, 1_000)
    path = tmp_path / "faregate.db"
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'transfer_wallet'").fetchone()
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: (page - 1) * 2_048] + b"\xff" * 2_048 + whole[page * 2_048 :])
    monkeypatch.setattr(on_sqlite, "CHECKED_BYTES_MAX", 0)

    async with opening(tmp_path) as store:
        assert store.incarnation == 2
