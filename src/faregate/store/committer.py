"""The group committer: every write of the process in one transaction after another, a batch in each.

    event loop                                        writer thread
    submit(apply, command)   queue
    BEGIN; apply each of what is there  ──────────>   COMMIT (the disk)
    futures are done                    <───once────  ... or the slow road: wait for a lock, find the culprit

Its one rule: nobody is answered before the COMMIT that holds their command. There is no artificial wait; batches form
by themselves while the commit before them runs. There is one connection that writes, and it is in one thread's hands
at a time: the loop's while a batch is applied, the writer's from there to its answer. Statements are microseconds and
would only fight for the interpreter in a thread of their own; the disk is milliseconds, and no loop waits for it.

An `apply` reads, decides and writes, on the connection it is given, and keeps nothing in memory: it may be run again.
What it raises as a GatewayError, before it has written anything, is its answer. A command that the database refuses
fails alone: the batch is done again by the writer, each command under a savepoint of its own. When COMMIT itself
refuses (a deferred key), each is done in a transaction of its own. When the database as a whole fails (disk full,
locked, I/O), nothing of the batch is kept, everybody is told, and the writer goes on with the next.

Notes are commands that nobody waits for. They ride with the next batch, or go by themselves within NOTE_WAIT_S. One
that the database could not take is left again, so that it is written as soon as the database is well.
"""

import asyncio
import collections
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from faregate.core.errors import GatewayError, Internal, NotReady
from faregate.store import sqlite
from faregate.store.database import unavailable

C = TypeVar("C")
R = TypeVar("R")

BATCH_MAX: Final = 64
"""Commands in one transaction: beyond it the gain is small, and the loop would be kept from its streams for longer."""

QUEUE_MAX: Final = 8_192
"""Commands that wait. More means that the disk does not keep up, and a quick 503 is better than a slow one."""

NOTE_WAIT_S: Final = 0.5
"""How long a note may wait for a batch to ride with."""

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

Apply = Callable[[sqlite3.Connection, C], R]
Job = tuple[Apply[Any, Any], Any, "asyncio.Future[Any] | str", float]
"""What to do, with what, whom to tell (or of a note its name), and since when it waits."""

Observe = Callable[[int, float], None]
"""Told of each batch: how many commands, and how many seconds the first of them waited for its answer."""


class Writer(Protocol):
    """Whoever takes commands: the committer, or nobody, where a database is open for reading only."""

    def submit(self, apply: Apply[C, R], command: C, *, ends: bool = False) -> "asyncio.Future[R]": ...

    def note(self, name: str, apply: Apply[C, R], command: C) -> None: ...

    def forget(self, name: str) -> None: ...


class Nobody:
    """The writer of a database that is open for reading only."""

    def submit(self, apply: Apply[C, R], command: C, *, ends: bool = False) -> "asyncio.Future[R]":
        """Refuse."""
        raise NotReady("The database is open for reading only.", code="database_unavailable")

    def note(self, name: str, apply: Apply[C, R], command: C) -> None:
        """Refuse."""
        self.submit(apply, command)

    def forget(self, name: str) -> None:
        """There are no notes."""


class Committer:
    """Takes commands from one event loop. Owns `connection` from `start` on, and closes it."""

    def __init__(self, connection: sqlite3.Connection, observe: Observe | None = None) -> None:
        self._connection = connection
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._waiting: collections.deque[Job] = collections.deque()
        self._notes: dict[str, tuple[Apply[Any, Any], Any]] = {}
        self._notes_timer: asyncio.TimerHandle | None = None
        self._at_rest = asyncio.Event()
        """Set while the connection is in nobody's hands and nothing waits."""
        self._at_rest.set()
        self._applied: queue.SimpleQueue[tuple[list[Job], list[Any] | None] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="faregate-committer", daemon=True)

    def start(self) -> None:
        """Begin to take commands."""
        self._be_patient(0)
        self._thread.start()

    async def close(self) -> None:
        """Take no more, finish what is queued, close the connection. Safe to repeat."""
        if not self._closed:
            self._closed = True
            if self._notes:
                self._wake()
            await self._at_rest.wait()
            if self._notes_timer is not None:
                self._notes_timer.cancel()
            self._applied.put(None)
        await asyncio.to_thread(self._thread.join)

    def submit(self, apply: Apply[C, R], command: C, *, ends: bool = False) -> "asyncio.Future[R]":
        """Queue a command; its future is done after its COMMIT. Raises NotReady when the queue is full or closed.

        A command that `ends` a charge may pass where others are refused: it follows one that was accepted.
        """
        if self._closed or len(self._waiting) >= (2 * QUEUE_MAX if ends else QUEUE_MAX):
            raise unavailable(RuntimeError("closed" if self._closed else f"{QUEUE_MAX} commands are waiting"))
        future: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append((apply, command, future, time.monotonic()))
        self._wake()
        return future

    def note(self, name: str, apply: Apply[C, R], command: C) -> None:
        """Leave a note: written some time soon, unless forgotten first. Dropped when there are too many."""
        if len(self._notes) < QUEUE_MAX and not self._closed:
            self._notes[name] = (apply, command)
            if self._notes_timer is None:
                self._notes_timer = self._loop.call_later(NOTE_WAIT_S, self._write_notes)

    def forget(self, name: str) -> None:
        """Take back a note that something stronger has overtaken."""
        self._notes.pop(name, None)

    def _write_notes(self) -> None:
        self._notes_timer = None
        if self._notes:
            self._wake()

    def _wake(self) -> None:
        if self._at_rest.is_set():
            self._at_rest.clear()
            # Not at once: what else this turn of the loop brings belongs to the same batch.
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Apply the next batch and hand it on; rest when there is none. The connection is in our hands."""
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH_MAX))]
        while self._notes and len(batch) < 2 * BATCH_MAX:
            name, (apply, command) = self._notes.popitem()
            batch.append((apply, command, name, time.monotonic()))
        if not batch:
            self._at_rest.set()
            return
        try:
            outcomes = self._apply(batch, savepoints=False)
        except Exception:
            # Whatever it was, the writer meets it again, where there is time to wait for a lock and to look.
            self._roll_back()
            outcomes = None
        self._applied.put((batch, outcomes))

    def _deliver(self, batch: list[Job], outcomes: list[Any]) -> None:
        for (apply, command, future, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(future, str):
                if isinstance(outcome, NotReady) and future not in self._notes:
                    self.note(future, apply, command)
            elif future.done():
                continue  # a caller who was cancelled has left
            elif isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        # Behind those who were just answered: what they ask for next belongs to the next batch.
        self._loop.call_soon(self._begin)
        if self._observe is not None:
            self._observe(len(batch), time.monotonic() - batch[0][3])

    # The writer thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (handed := self._applied.get()) is not None:
            batch, outcomes = handed
            told = self._commit(batch, outcomes)
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody is waiting
                self._loop.call_soon_threadsafe(self._deliver, batch, told)
        self._connection.close()

    def _commit(self, batch: list[Job], outcomes: list[Any] | None) -> list[Any]:
        try:
            if outcomes is not None and self._committed():
                return outcomes
            return self._with_patience(batch)
        except Exception as error:
            # Whatever it was: a writer that died of it would leave everybody waiting for ever.
            self._roll_back()
            return [unavailable(error) for _ in batch]

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
        return _answer(sqlite3.IntegrityError("refused at COMMIT")) if outcomes is None else outcomes[0]

    # Whoever has the connection ---------------------------------------------------------------------------------

    def _apply(self, batch: list[Job], *, savepoints: bool) -> list[Any]:
        """Begin a transaction and apply a batch in it; the answers, not yet durable. Raises when it must be redone."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        outcomes = []
        for apply, command, _, _ in batch:
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
                outcomes.append(_answer(error))
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


def _answer(error: Exception) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    refusal = Internal("The ledger refused this. Nothing was charged.")
    refusal.__cause__ = error
    return refusal
