"""How a batch of commands becomes a transaction of PostgreSQL.

    BEGIN; lock the wallets of the batch, in the order of their ids; apply each; COMMIT

What a command writes rides in a pipeline with the next one's question, so a batch costs one turn of the network for
each question that it asks. All of it happens in the committer's thread. Replicas meet at the wallets' rows and nowhere
else, and always in the same order, so they wait for one another and never in a circle; every statement after the lock
sees what was committed before it (READ COMMITTED). What names no wallet (a new key, a price) goes alone.

A command that the database refuses fails alone: each of the batch is then done in a transaction of its own. A lost
connection is opened anew for up to PATIENCE_NS, and the batch done again; but when it was lost at COMMIT, nobody knows
how that ended: it is read back from the database by the transaction's number, and never redone blindly. Where that
cannot be read either, everybody is told NotReady, and what was asked must be safe to ask again.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import errors as refusals

from faregate.core.errors import GatewayError
from faregate.store.committer import Job, answer
from faregate.store.database import unavailable
from faregate.store.postgres import Connection

PATIENCE_NS: Final = 2_000_000_000
"""How long a batch waits for a database that is away."""

PAUSE_S: Final = 0.05
"""Between two tries."""

_LOCK: Final = """
WITH locked AS MATERIALIZED (
  SELECT id FROM account WHERE wallet_id = ANY(%s) AND id = wallet_id ORDER BY wallet_id FOR NO KEY UPDATE
) SELECT pg_current_xact_id()::text, COUNT(*) FROM locked
"""
_HOW_IT_ENDED: Final = "SELECT pg_xact_status(%s::text::xid8)"
_ERA: Final = "SELECT pg_postmaster_start_time()::text, redo_lsn::text FROM pg_control_checkpoint()"
"""Changes with every crash: a server that comes back has begun anew, or ended its recovery with a checkpoint."""

AGAIN: Final = (
    refusals.DeadlockDetected,
    refusals.SerializationFailure,
    refusals.LockNotAvailable,
    refusals.QueryCanceled,
    refusals.AdminShutdown,
    refusals.CrashShutdown,
    refusals.CannotConnectNow,
    refusals.TooManyConnections,
    refusals.ReadOnlySqlTransaction,
    refusals.IdleInTransactionSessionTimeout,
    refusals.TransactionTimeout,
)
"""What passes by itself, or with another server: the transaction is done again, all of it."""


class _Unknown(Exception):
    """COMMIT was not answered, or not by what tells how it ended."""

    def __init__(self, number: str) -> None:
        super().__init__(f"transaction {number}")
        self.number = number


class PostgresWriter:
    """Implements committer.Driver. Owns its connection, and opens it anew when it is lost."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = connect()
        self._era = _era(self._connection)
        self._outcomes: list[Any] = []
        """Of the last transaction, whether or not we know how it ended."""

    def begin(self, batch: list[Job]) -> None:
        """Nothing: every statement waits for the network."""

    def finish(self, batch: list[Job], outcomes: list[Any] | None) -> list[Any]:
        """The whole transaction."""
        together = [job for job in batch if job.wallet_id is not None]
        told = dict(zip(map(id, together), self._surely(together), strict=True)) if together else {}
        return [told[id(job)] if id(job) in told else self._surely([job])[0] for job in batch]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _surely(self, batch: list[Job]) -> list[Any]:
        """Do a batch, again and again while the database is away, and say what each is told. Never raises."""
        until_ns = time.monotonic_ns() + PATIENCE_NS
        while True:
            try:
                return self._together(batch)
            except _Unknown as unknown:
                ended = self._read_back(unknown.number, until_ns)
                if ended is not False:
                    return self._outcomes if ended else [unavailable(unknown) for _ in batch]
                failure: Exception = unknown
            except Exception as error:
                passes = self._roll_back(error)
                if not passes:
                    return [self._alone(job, error) for job in batch]
                failure = error
            if time.monotonic_ns() >= until_ns:
                return [unavailable(failure) for _ in batch]
            time.sleep(PAUSE_S)

    def _alone(self, job: Job, error: Exception) -> Any:
        # Of two replicas that write the same new name, the second is refused by an index, and finds on its second try
        # what it could not see on its first.
        for _ in range(2):
            try:
                return self._together([job])[0]
            except _Unknown as unknown:
                return self._outcomes[0] if self._read_back(unknown.number, 0) else unavailable(unknown)
            except Exception as refusal:
                if self._roll_back(refusal):
                    return unavailable(refusal)
                error = refusal
                if not isinstance(refusal, refusals.UniqueViolation):
                    break
        return answer(error)

    def _together(self, batch: list[Job]) -> list[Any]:
        """One transaction; the answers are durable when it returns. Raises whatever it met, or _Unknown."""
        connection = self._open()
        raw = connection.raw
        wallets = sorted({job.wallet_id for job in batch if job.wallet_id is not None})
        with raw.pipeline():
            raw.execute("BEGIN")
            row = raw.execute(_LOCK, (wallets,)).fetchone()
            assert row is not None
            self._outcomes = [self._applied(connection, job) for job in batch]
        # The pipeline's end has brought every answer: from here on only COMMIT can fail.
        try:
            raw.execute("COMMIT")
        except psycopg.IntegrityError:
            raise  # A deferred key: this much is certain.
        except psycopg.Error as error:
            raise _Unknown(row[0]) from error
        return self._outcomes

    @staticmethod
    def _applied(connection: Connection, job: Job) -> Any:
        writes = connection.writes
        try:
            return job.apply(connection, job.command)
        except GatewayError as error:
            if connection.writes != writes:
                raise
            return error

    def _read_back(self, number: str, until_ns: int) -> bool | None:
        """How a transaction ended whose COMMIT was not answered: True, False, or None when nobody can tell.

        A crash forgets numbers that it had given out, and gives them to others afterwards: "committed" is then said of
        a transaction that is not ours. So it is believed only within the era in which ours was begun.
        """
        era = self._era
        while True:
            try:
                row = self._open().raw.execute(_HOW_IT_ENDED, (number,)).fetchone()
                assert row is not None
                if row[0] == "committed":
                    return True if self._era == era else None
                if row[0] == "aborted":
                    return False
            except refusals.InvalidParameterValue:
                return False  # A number that the database has not come to yet: this one never heard of it.
            except psycopg.Error as error:
                self._roll_back(error)
            if time.monotonic_ns() >= until_ns:
                return None
            time.sleep(PAUSE_S)

    def _open(self) -> Connection:
        if self._connection is None or self._connection.lost:
            self._connection = None
            fresh = self._connect()
            try:
                self._era = _era(fresh)
            except psycopg.Error:
                fresh.close()
                raise
            self._connection = fresh
        return self._connection

    def _roll_back(self, error: Exception) -> bool:
        """Undo what is open, and say whether the error is the database's own, which passes."""
        connection = self._connection
        lost = connection is None or connection.lost
        if connection is not None:
            try:
                connection.raw.execute("ROLLBACK")
            except psycopg.Error:
                connection.close()
        return lost or isinstance(error, AGAIN)


def _era(connection: Connection) -> tuple[str, str]:
    row: tuple[str, str] | None = connection.raw.execute(_ERA).fetchone()
    assert row is not None
    return row
