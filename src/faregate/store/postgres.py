"""Connections to a PostgreSQL database, each in one thread's hands, speaking the statements as SQLite does.

    connect(url)    autocommit: whoever writes says BEGIN and COMMIT; `?` becomes `%s`, and nothing else is translated
    Readers(url)    a few connections that cannot write, each in a thread of its own

Every connection carries the same limits: a statement that waits longer than that for a lock, or runs longer, is ended
by the server, so that a stuck neighbour costs an error and not the gateway. And each side notices within half a minute
when the other has vanished without a word, so that what a session holds does not outlive its machine for long.
"""

import asyncio
import contextlib
import functools
import os
import socket
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
IDLE_MS: Final = 10_000
"""How long a transaction may stand open with nothing said: its locks are in the way of every other replica."""
READERS_MAX: Final = 4
STOP_S: Final = 1
"""How long a server is asked to end what is being read, before the connection is cut."""
AWAY_NS: Final = 1_000_000_000

KEEPALIVES: Final = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
                     "tcp_user_timeout": 15_000}  # fmt: skip
"""A server that has vanished without a word is noticed within half a minute."""

SERVERS_KEEPALIVES: Final = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3,
                             "tcp_user_timeout": 15_000}  # fmt: skip
"""And so is our machine by the server, which else keeps what a session of it holds for some two hours."""

_ONLY_READS: Final = b"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
"""After connecting: a server on which transactions begin read-only is none that `target_session_attrs` would take."""
_DURABLE: Final = b"""
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') IN ('off', 'local')
"""
"""What was acknowledged survives a crash of the server, whatever the database or the role is set to."""


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

    def sever(self) -> None:
        """End what runs on it, from another thread: at the server if that hears of it, and here in any case."""
        with contextlib.suppress(psycopg.Error):
            self.raw.cancel_safe(timeout=STOP_S)
        with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.raw.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


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


def connect(url: str, *, name: str = "faregate", reads: bool = False, statement_ms: int = STATEMENT_MS) -> Connection:
    """Open a connection; one that only `reads` cannot write, one that writes does so durably. Raises psycopg.Error."""
    raw = psycopg.connect(url, autocommit=True, **options(name=name, statement_ms=statement_ms))
    try:
        raw.execute(_ONLY_READS if reads else _DURABLE)
    except psycopg.Error:
        raw.close()
        raise
    as_bigint(raw)
    return Connection(raw)


def as_bigint(raw: psycopg.Connection[Any]) -> None:
    """Every integer is sent as a bigint: else each size of number would be a prepared statement of its own."""
    raw.adapters.register_dumper(int, Int8Dumper)


def options(*, name: str, statement_ms: int = STATEMENT_MS) -> dict[str, Any]:
    """How every connection is opened."""
    settings = {
        "lock_timeout": LOCK_MS,
        "statement_timeout": statement_ms,
        "idle_in_transaction_session_timeout": IDLE_MS,
        "default_transaction_isolation": r"read\ committed",
        **SERVERS_KEEPALIVES,
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

    def __init__(
        self,
        url: str,
        *,
        name: str = "faregate reader",
        connections: int = READERS_MAX,
        statement_ms: int = STATEMENT_MS,
    ) -> None:
        self._connect_to = functools.partial(connect, url, name=name, reads=True, statement_ms=statement_ms)
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix=name.replace(" ", "-"))
        self._own = threading.local()
        self._opened: list[Connection] = []
        self._auditing = asyncio.Semaphore(1)
        """A snapshot may take minutes: one at a time leaves the other connections to callers."""
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
        """Run `read` on one state of the database, whatever is written meanwhile; each statement may take SCAN_MS."""
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {SCAN_MS}"
        async with self._auditing:
            return await self._run(read, begin.encode())

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
        self._refuse_when_closed()
        connection = self._connect_to()
        self._own.connection = connection
        self._opened.append(connection)
        self._refuse_when_closed()  # Who ends the others may not have seen this one.
        return connection

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise psycopg.OperationalError("the readers are closed")

    async def close(self) -> None:
        """End what is being read, and take no more."""
        self._closed = True
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        for connection in self._opened:
            connection.sever()
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
