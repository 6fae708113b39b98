"""An SQLite file, opened: locked, checked page by page, migrated, in a new incarnation. Or opened to be read."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from faregate.core.pricing import PriceVersion
from faregate.store import keys, nodes, prices, schema, sqlite
from faregate.store.database import StoreRefused
from faregate.store.lock import Lock
from faregate.store.opened import Opened
from faregate.store.sqlite import Readers
from faregate.store.sqlite_writer import SqliteWriter

CHECKED_BYTES_MAX: Final = 64 << 20
"""Up to this size a file is checked page by page at every start; a larger one would keep the gateway waiting."""


@asynccontextmanager
async def opened(
    path: Path, *, pepper: bytes | None, shipped: Sequence[PriceVersion], now_ms: int, node: str
) -> AsyncIterator[Opened]:
    """Own the file at `path`, made when need be; whoever gets it closes driver and readers. Raises StoreRefused."""
    assert pepper is not None, "a file's pepper is kept beside it"
    lock = Lock(path)
    try:
        yield await asyncio.to_thread(_open, path, pepper, shipped, now_ms, node)
    finally:
        lock.release()


@asynccontextmanager
async def to_read(path: Path) -> AsyncIterator[tuple[Readers, list[PriceVersion]]]:
    """Read the file at `path`, whoever owns it. Raises StoreRefused."""
    readers, versions = await asyncio.to_thread(_open_to_read, path)
    try:
        yield readers, versions
    finally:
        await readers.close()


def _open(path: Path, pepper: bytes, shipped: Sequence[PriceVersion], now_ms: int, node: str) -> Opened:
    connection = _connect(path)
    try:
        _check(connection, path)
        schema.migrate(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        keys.check_pepper(connection, pepper)
        prices.ship(connection, shipped)
        incarnation = nodes.begin(connection, node, now_ms)
        connection.execute("COMMIT")
        return Opened(
            driver=SqliteWriter(connection),
            readers=Readers(path),
            versions=prices.read(connection),
            pepper=pepper,
            node=node,
            incarnation=incarnation,
            refused=lambda error: refused(path, error),
        )
    except sqlite3.Error as error:
        connection.close()
        raise refused(path, error) from error
    except StoreRefused:
        connection.close()
        raise


def _open_to_read(path: Path) -> tuple[Readers, list[PriceVersion]]:
    if not path.exists():
        raise StoreRefused(f"There is no database at {path}. `faregate serve` makes one at its first start.")
    try:
        connection = sqlite.reader(path)
        try:
            if schema.check_version(connection, path) == 0:
                raise StoreRefused(f"The database at {path} is empty. `faregate serve` makes it at its first start.")
            return Readers(path), prices.read(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise refused(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return sqlite.writer(path)
    except sqlite3.Error as error:
        raise refused(path, error) from error


def _check(connection: sqlite3.Connection, path: Path) -> None:
    schema.check_version(connection, path)
    if path.stat().st_size <= CHECKED_BYTES_MAX:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise refused(path, sqlite3.DatabaseError(verdict))


def refused(path: Path, error: BaseException) -> StoreRefused:
    """What a failure to open a file means to who runs this."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_NOTADB"):
        return StoreRefused(f"{path} is not an SQLite database. Give another file as the database.")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return StoreRefused(
            f"Cannot write {path}. Make the file and its folder writable by the user that runs Faregate."
        )
    if name.startswith("SQLITE_BUSY"):
        return StoreRefused(f"{path} is locked by another program. Close that program first.")
    if name.startswith("SQLITE_FULL"):
        return StoreRefused(f"There is no space left for {path}. Free some, then start again.")
    return StoreRefused(f"{path} is damaged ({error}). Restore it from a backup.")
