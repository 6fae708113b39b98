"""Connections to the SQLite file: one that writes, and readers that cannot.

SQLite has had bugs that need two connections which write or checkpoint at once, so there is exactly one: the writer.
Readers are `query_only` and never checkpoint.

    writer(path)     WAL, synchronous=FULL, foreign keys and recursive triggers on; owned by the committer
    Readers(path)    .point() on the event loop, for lookups by key; .scan() in a thread, for lists
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from faregate.store.database import unavailable

R = TypeVar("R")

BUSY_WAIT_MS: Final = 2_000
"""How long the writer waits for a foreign lock (a shell, a backup) before it answers that it is not ready."""

STATEMENTS_MAX: Final = 256
"""Prepared statements kept per connection: more than there are texts in the store."""

PAGE_BYTES: Final = 2_048
"""Half of SQLite's own: a small commit touches some fifteen pages, and each is summed and written whole."""

CHECKPOINT_PAGES: Final = 8_000
"""16 MiB of log before it is carried into the file: the rows of a busy hour are the same few pages over and over."""

MALLOC_HINT_BYTES: Final = 16 << 20


def writer(path: Path) -> sqlite3.Connection:
    """Open the one connection that writes. Raises sqlite3.Error."""
    _keep_freed_memory()
    _make_for_owner(path)
    connection = _connect(path, mode="rwc")
    try:
        for pragma in (
            f"busy_timeout = {BUSY_WAIT_MS}",
            f"page_size = {PAGE_BYTES}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "recursive_triggers = ON",
            "trusted_schema = OFF",
            "wal_autocheckpoint = 8000",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can only read. Raises sqlite3.Error."""
    connection = _connect(path, mode="ro")
    for pragma in (
        f"busy_timeout = {BUSY_WAIT_MS}",
        "query_only = ON",
        "trusted_schema = OFF",
        "wal_autocheckpoint = 0",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchone()
    return connection


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    # Threads are ours to keep apart: each connection is used by one thread at a time.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        cached_statements=STATEMENTS_MAX,
        check_same_thread=False,
    )


def _make_for_owner(path: Path) -> None:
    # SQLite makes a file that everybody may read, and gives its log the file's mode. One that is there keeps its own:
    # an operator may have opened it to a group on purpose.
    with contextlib.suppress(OSError):  # It is there, or cannot be made: then SQLite says so in its own words.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _keep_freed_memory() -> None:
    # Each statement with triggers takes and frees a 64 KiB journal. Under glibc's first thresholds that memory goes
    # back to the kernel every time, which doubles the cost of a settle; freeing one large block raises them.
    block = bytearray(MALLOC_HINT_BYTES)
    del block


class Readers:
    """Two readers of one file: one for the event loop's own thread, one for lists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._point = reader(path)
        self._scan = reader(path)
        self._scan_lock = threading.Lock()

    async def point(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """One row by its key, here and now: a few microseconds from the page cache."""
        try:
            row: tuple[Any, ...] | None = self._point.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise unavailable(error) from error
        return row

    async def scan(self, read: Callable[[sqlite3.Connection], R]) -> R:
        """Run `read` beside the event loop, for what may take long."""
        return await asyncio.to_thread(self._scan_now, read)

    async def snapshot(self, read: Callable[[sqlite3.Connection], R]) -> R:
        """Run `read` on one state of the file, on a connection of its own: it takes long, and lists must not wait."""
        return await asyncio.to_thread(self._snapshot, read)

    def _snapshot(self, read: Callable[[sqlite3.Connection], R]) -> R:
        try:
            with contextlib.closing(reader(self.path)) as connection:
                connection.execute("BEGIN")
                return read(connection)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    def _scan_now(self, read: Callable[[sqlite3.Connection], R]) -> R:
        with self._scan_lock:
            try:
                return read(self._scan)
            except sqlite3.Error as error:
                raise unavailable(error) from error

    async def close(self) -> None:
        """Close both, waiting for a list that is being read."""
        await asyncio.to_thread(self._close_scan)
        self._point.close()

    def _close_scan(self) -> None:
        with self._scan_lock:
            self._scan.close()
