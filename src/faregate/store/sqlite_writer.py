"""How a batch of commands becomes a transaction of SQLite.

    event loop   begin    BEGIN IMMEDIATE; apply each          statements are microseconds: in a thread they would only
                                                               fight for the interpreter
    thread       finish   COMMIT: the disk                     ... or the slow road: wait for a lock, find the culprit

A command that the database refuses fails alone: the batch is done again by the thread, each command under a savepoint
of its own. When COMMIT itself refuses (a deferred key), each is done in a transaction of its own. When the database as
a whole fails (disk full, locked, I/O), nothing of the batch is kept and everybody is told.
"""

import contextlib
import sqlite3
from typing import Any, Final

from faregate.core.errors import GatewayError
from faregate.store import sqlite
from faregate.store.committer import Job, answer
from faregate.store.database import unavailable

FAILURES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""What SQLite says when it is the file or the machine that fails, and not one command."""

PRIMARY_CODE: Final = 0xFF
"""The low byte of an extended error code."""


class SqliteWriter:
    """Implements committer.Driver. Owns `connection`, and closes it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._be_patient(0)

    def begin(self, batch: list[Job]) -> list[Any] | None:
        """Apply all of it in a transaction that is left open."""
        try:
            return self._apply(batch, savepoints=False)
        except Exception:
            # Whatever it was, `finish` meets it again, where there is time to wait for a lock and to look.
            self._roll_back()
            return None

    def finish(self, batch: list[Job], outcomes: list[Any] | None) -> list[Any]:
        """COMMIT, or the slow road."""
        try:
            if outcomes is not None and self._committed():
                return outcomes
            return self._with_patience(batch)
        except Exception as error:
            # Whatever it was: a writer that died of it would leave everybody waiting for ever.
            self._roll_back()
            return [unavailable(error) for _ in batch]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _with_patience(self, batch: list[Job]) -> list[Any]:
        """Do a batch again: wait for a foreign lock, and keep apart what must fail alone."""
        self._be_patient(sqlite.BUSY_WAIT_MS)
        try:
            outcomes = self._together(batch)
            return outcomes if outcomes is not None else [self._alone(job) for job in batch]
        finally:
            self._be_patient(0)

    def _be_patient(self, milliseconds: int) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {milliseconds}").fetchone()

    def _together(self, batch: list[Job]) -> list[Any] | None:
        """All in one transaction, under savepoints; None, with nothing kept, when COMMIT refuses one of them."""
        outcomes = self._apply(batch, savepoints=True)
        return outcomes if self._committed() else None

    def _alone(self, job: Job) -> Any:
        try:
            outcomes = self._together([job])
        except sqlite3.Error as error:
            self._roll_back()
            return unavailable(error)
        return answer(sqlite3.IntegrityError("refused at COMMIT")) if outcomes is None else outcomes[0]

    def _apply(self, batch: list[Job], *, savepoints: bool) -> list[Any]:
        """Begin a transaction and apply a batch in it; the answers, not yet durable. Raises when it must be redone."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        outcomes = []
        for apply, command, *_ in batch:
            changes = connection.total_changes
            if savepoints:
                connection.execute("SAVEPOINT command")
            try:
                outcomes.append(apply(connection, command))
            except Exception as error:
                if _database_failed(error):
                    raise
                if not savepoints and not (isinstance(error, GatewayError) and connection.total_changes == changes):
                    raise
                if savepoints:
                    connection.execute("ROLLBACK TO command")
                outcomes.append(answer(error))
            if savepoints:
                connection.execute("RELEASE command")
        return outcomes

    def _committed(self) -> bool:
        """COMMIT; False, with nothing kept, when a deferred key refuses it."""
        try:
            self._connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            self._roll_back()
            return False
        return True

    def _roll_back(self) -> None:
        # Some failures have rolled back already; one that cannot even do that shows again at the next BEGIN.
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _database_failed(error: Exception) -> bool:
    """Whether it is the database that fails (disk full, locked, I/O, corrupted), and not this one command."""
    return getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE in FAILURES
