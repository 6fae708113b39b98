"""Connections to a PostgreSQL database, each in one thread's hands, speaking the statements as SQLite does.

    connect(url)    autocommit: whoever writes says BEGIN and COMMIT; `?` becomes `%s`, and nothing else is translated
    Readers(url)    a few connections that cannot write, each in a thread of its own

Every connection carries the same limits: a statement that waits longer than that for a lock, or runs longer, is ended
by the server, so that a stuck neighbour costs an error and not the gateway.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import psycopg
from psycopg.types.numeric import Int8Dumper

from faregate.store.database import unavailable

R = TypeVar("R")

CONNECT_S: Final = 2
LOCK_MS: Final = 2_000
"""How long a statement waits for a lock that another replica holds."""
STATEMENT_MS: Final = 10_000
SCAN_MS: Final = 300_000
"""An audit of a large ledger takes its time."""
READERS_MAX: Final = 4
AWAY_NS: Final = 1_000_000_000

KEEPALIVES: Final = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
                     "tcp_user_timeout": 15_000}  # fmt: skip
"""A server that has vanished without a word is noticed within half a minute."""


class Connection:
    """Implements database.Connection over one of psycopg's, and knows whether anything was written."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self.raw = raw
        self.writes = 0
        """Statements so far that are not a SELECT."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> "Cursor":
        text, reads = translated(statement)
        if not reads:
            self.writes += 1
        return Cursor(self.raw.execute(text, values or None))

    @property
    def lost(self) -> bool:
        """Whether there is nobody at the other end any more."""
        return self.raw.closed or self.raw.broken

    def close(self) -> None:
        self.raw.close()


class Cursor:
    """What a statement gave; one that gave no rows has none, as in SQLite.

    In a pipeline a statement is only on its way until somebody asks what it gave.
    """

    def __init__(self, raw: psycopg.Cursor[Any]) -> None:
        self._raw = raw

    @property
    def rowcount(self) -> int:
        self.fetchone()
        return self._raw.rowcount

    def fetchone(self) -> Any:
        try:
            return self._raw.fetchone()
        except psycopg.ProgrammingError as error:
            if error.sqlstate is not None:
                raise
            return None  # No rows: an INSERT, or the like.

    def fetchall(self) -> list[Any]:
        try:
            return self._raw.fetchall()
        except psycopg.ProgrammingError as error:
            if error.sqlstate is not None:
                raise
            return []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


@functools.cache
def translated(statement: str) -> tuple[bytes, bool]:
    """A statement in psycopg's placeholders, and whether it only reads. Each text is translated once."""
    assert "%" not in statement or "?" not in statement, "a statement with values has no literal %"
    reads = statement.lstrip().upper().startswith(("SELECT", "WITH"))
    return statement.replace("?", "%s").encode(), reads


def connect(url: str, *, name: str = "faregate", reads: bool = False) -> Connection:
    """Open a connection; one that only `reads` cannot write. Raises psycopg.Error."""
    raw = psycopg.connect(url, autocommit=True, **options(name=name, reads=reads))
    as_bigint(raw)
    return Connection(raw)


def as_bigint(raw: psycopg.Connection[Any]) -> None:
    """Every integer is sent as a bigint: else each size of number would be a prepared statement of its own."""
    raw.adapters.register_dumper(int, Int8Dumper)


def options(*, name: str, reads: bool = False) -> dict[str, Any]:
    """How every connection is opened."""
    settings = {
        "lock_timeout": LOCK_MS,
        "statement_timeout": SCAN_MS if reads else STATEMENT_MS,
        "idle_in_transaction_session_timeout": SCAN_MS,
        "default_transaction_isolation": r"read\ committed",
        "default_transaction_read_only": "on" if reads else "off",
    }
    return {
        "application_name": name,
        "client_encoding": "utf8",  # Else it is the environment's, or the database's own.
        "connect_timeout": CONNECT_S,
        "options": " ".join(f"-c {key}={value}" for key, value in settings.items()),
        **KEEPALIVES,
    }


class Readers:
    """Reads beside the writer, on connections that cannot write, in threads of their own.

    When the database does not answer, a read is not ready, and for AWAY_NS so is every other, at once: callers who are
    going to be refused should not stand in line for it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="faregate-reader")
        self._own = threading.local()
        self._opened: list[Connection] = []
        self._away_until_ns = 0
        self._closed = False

    async def point(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """One row by its key."""
        row: tuple[Any, ...] | None = await self.scan(
            lambda connection: connection.execute(statement, values).fetchone()
        )
        return row

    async def scan(self, read: Callable[[Connection], R]) -> R:
        """Run `read` beside the event loop."""
        return await self._run(read, b"")

    async def snapshot(self, read: Callable[[Connection], R]) -> R:
        """Run `read` on one state of the database, whatever is written meanwhile."""
        return await self._run(read, b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    async def _run(self, read: Callable[[Connection], R], begin: bytes) -> R:
        if self._closed:
            raise unavailable(RuntimeError("the readers are closed"))
        if time.monotonic_ns() < self._away_until_ns:
            raise unavailable(TimeoutError("the database did not answer a moment ago"))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, read, begin)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.QueryCanceled):
                self._away_until_ns = time.monotonic_ns() + AWAY_NS
            raise unavailable(error) from error

    def _read(self, read: Callable[[Connection], R], begin: bytes) -> R:
        found = getattr(self._own, "connection", None)
        if found is not None:
            try:
                return _within(found, read, begin)
            except psycopg.OperationalError:
                if not found.lost:
                    raise
                # It was lost since the last read, and what was read can be read again.
        return _within(self._connect(), read, begin)

    def _connect(self) -> Connection:
        connection = connect(self._url, name="faregate reader", reads=True)
        self._own.connection = connection
        self._opened.append(connection)
        return connection

    def close(self) -> None:
        self._closed = True
        self._threads.shutdown()
        for connection in self._opened:
            connection.close()


def _within(connection: Connection, read: Callable[[Connection], R], begin: bytes) -> R:
    if not begin:
        return read(connection)
    connection.raw.execute(begin)
    try:
        return read(connection)
    finally:
        if not connection.lost:
            connection.raw.execute(b"ROLLBACK")
