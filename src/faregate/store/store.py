"""The store, opened: the ports of port.py on one SQLite file that this process owns.

    async with Store.open(path, pepper=..., prices=...) as store:
        store.ledger  store.keys  store.prices  store.records  store.office

Opening takes the lock, brings the schema up to date, checks the pepper, appends the shipped prices, begins a new
incarnation and gives back what a dead process had held, in this order; whatever is wrong raises StoreRefused with one
sentence and changes nothing. Closing finishes what is queued. `Store.open_to_read` takes no lock and changes nothing,
so it works beside the process that owns the file.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.store import keys, prices, schema, sqlite, sweep
from faregate.store.charges import Charges
from faregate.store.committer import Committer, Nobody, Observe, Writer
from faregate.store.database import StoreRefused
from faregate.store.lock import Lock
from faregate.store.office import Office
from faregate.store.records import Records
from faregate.store.sqlite import Readers
from faregate.store.sqlite_writer import SqliteWriter
from faregate.store.sweep import Swept

NODE: Final = "main"
"""One process owns an SQLite file, so there is one node."""

CHECKED_BYTES_MAX: Final = 64 << 20
"""Up to this size a file is checked page by page at every start; a larger one would keep the gateway waiting."""

_INCARNATION = "SELECT incarnation FROM node WHERE name = ?"
_FIRST = "INSERT INTO node(incarnation, started_at, seen_at, name) VALUES (?, ?, ?, ?)"
_AGAIN = "UPDATE node SET incarnation = ?, started_at = ?, seen_at = ? WHERE name = ?"


def wall_clock() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Store:
    """The five ports, over one writer and its readers."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        *,
        pepper: bytes | None,
        versions: list[PriceVersion],
        clock: Callable[[], int],
        incarnation: int,
        swept: Swept,
    ) -> None:
        self.keys = keys.Keys(writer, readers, pepper)
        self.prices = prices.Prices(writer, versions)
        self.ledger = Charges(writer, self.keys, node=NODE, incarnation=incarnation)
        self.records = Records(writer, readers, node=NODE)
        self.office = Office(writer, readers, self.keys, self.prices, clock)
        self.incarnation = incarnation
        """How often the database has been opened for writing."""
        self.swept = swept
        """What was found open of processes that died."""

    @staticmethod
    @asynccontextmanager
    async def open(
        path: Path,
        *,
        pepper: bytes,
        prices: Sequence[PriceVersion] = (),
        clock: Callable[[], int] = wall_clock,
        observe: Observe | None = None,
    ) -> AsyncIterator["Store"]:
        """Own the file at `path`, making it when it is not there. Raises StoreRefused.

        `observe` is told on the event loop of each batch: its size, and how long its first command waited.
        """
        lock = Lock(path)
        try:
            opened = await asyncio.to_thread(_open, path, pepper, prices, clock())
            connection, readers, versions, incarnation, swept = opened
            committer = Committer(SqliteWriter(connection), observe)
            try:
                yield Store(
                    committer,
                    readers,
                    pepper=pepper,
                    versions=versions,
                    clock=clock,
                    incarnation=incarnation,
                    swept=swept,
                )
            finally:
                readers.close()
                await committer.close()
        finally:
            lock.release()

    @staticmethod
    @asynccontextmanager
    async def open_to_read(path: Path, *, clock: Callable[[], int] = wall_clock) -> AsyncIterator["Store"]:
        """Read the file at `path`, whoever owns it. What writes raises NotReady; no caller's key can be looked up."""
        readers, versions = await asyncio.to_thread(_open_to_read, path)
        nothing = Swept(0, Nanos(0))
        try:
            yield Store(Nobody(), readers, pepper=None, versions=versions, clock=clock, incarnation=0, swept=nothing)
        finally:
            readers.close()


def _open(
    path: Path, pepper: bytes, shipped: Sequence[PriceVersion], now_ms: int
) -> tuple[sqlite3.Connection, Readers, list[PriceVersion], int, Swept]:
    connection = _connect(path)
    try:
        _check(connection, path)
        schema.migrate(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        keys.check_pepper(connection, pepper)
        prices.ship(connection, shipped)
        incarnation = _begin(connection, now_ms)
        connection.execute("COMMIT")
        swept = sweep.sweep(connection, NODE, incarnation, now_ms)
        return connection, Readers(path), prices.read(connection), incarnation, swept
    except sqlite3.Error as error:
        connection.close()
        raise _refused(path, error) from error
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
        raise _refused(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return sqlite.writer(path)
    except sqlite3.Error as error:
        raise _refused(path, error) from error


def _check(connection: sqlite3.Connection, path: Path) -> None:
    schema.check_version(connection, path)
    if path.stat().st_size <= CHECKED_BYTES_MAX:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _refused(path, sqlite3.DatabaseError(verdict))


def _begin(connection: sqlite3.Connection, now_ms: int) -> int:
    row = connection.execute(_INCARNATION, (NODE,)).fetchone()
    incarnation = 1 if row is None else row[0] + 1
    connection.execute(_FIRST if row is None else _AGAIN, (incarnation, now_ms, now_ms, NODE))
    return int(incarnation)


def _refused(path: Path, error: sqlite3.Error) -> StoreRefused:
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
