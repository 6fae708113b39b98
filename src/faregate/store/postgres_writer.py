"""How a batch of commands becomes a transaction of PostgreSQL.

    BEGIN; lock the wallets of the batch, in the order of their ids; apply each; COMMIT

What a command writes rides in a pipeline with the next one's question, so a batch costs one turn of the network for
each question that it asks. All of it happens in the committer's thread. Replicas meet at the wallets' rows and nowhere
else, and always in the same order, so they wait for one another and never in a circle; every statement after the lock
sees what was committed before it (READ COMMITTED). What names no wallet (a new key, a price) goes alone.

A wallet whose row a neighbour does not let go is passed over: the others are done without it, its own commands are told
NotReady, and for STUCK_NS nobody waits for it again. A command that the database refuses fails alone: each of the batch
is then done in a transaction of its own. A lost connection is opened anew for up to PATIENCE_NS, and the batch done
again; but when it was lost at COMMIT, nobody knows how that ended: it is read back from the database by the
transaction's number, and never redone blindly. Where that cannot be read either, everybody is told so, and what was
asked must be safe to ask again.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import errors as refusals

from faregate.core.errors import GatewayError
from faregate.store.committer import Job, answer
from faregate.store.database import WalletLocked, unavailable
from faregate.store.postgres import Connection

PATIENCE_NS: Final = 2_000_000_000
"""How long a batch waits for a database that is away."""

PAUSE_S: Final = 0.05
"""Between two tries."""

LOCK_WAIT_MS: Final = 500
"""How long for a lock in one try. Other replicas hold a wallet's for milliseconds."""

SOON_NS: Final = 100_000_000
"""How long for a wallet that was passed over to get free: a busy one is in between, and a stuck one is not."""

STUCK_NS: Final = 2_000_000_000
"""How long nobody waits again for one that did not: its neighbours would."""

IDLE_MS: Final = 5_000
"""How long the database waits for the next word within a transaction: its locks are in the way of every replica."""

_LIMITS: Final = f"""
SELECT set_config('lock_timeout', '{LOCK_WAIT_MS}', false),
  set_config('idle_in_transaction_session_timeout', '{IDLE_MS}', false)
"""

_ERA: Final = "pg_postmaster_start_time()::text || ' ' || redo_lsn::text"
"""Changes with every crash, for a server that comes back has begun anew, or ended its recovery with a checkpoint; and
with every other checkpoint, so that what is read back across one is not believed."""

_LOCK: Final = f"""
WITH locked AS MATERIALIZED (
  SELECT id FROM account WHERE wallet_id = ANY(%(wallets)s) AND id = wallet_id ORDER BY wallet_id FOR NO KEY UPDATE
), passed_over AS (
  SELECT id FROM account WHERE wallet_id = ANY(%(wallets)s) AND id = wallet_id EXCEPT SELECT id FROM locked
) SELECT pg_current_xact_id()::text, {_ERA}, ARRAY(SELECT id FROM passed_over), (SELECT COUNT(*) FROM locked)
FROM pg_control_checkpoint()
"""  # noqa: S608 - constants
_LOCK_WHAT_IS_FREE: Final = _LOCK.replace("FOR NO KEY UPDATE", "FOR NO KEY UPDATE SKIP LOCKED")
_HOW_IT_ENDED: Final = f"SELECT pg_xact_status(%s::text::xid8), {_ERA} FROM pg_control_checkpoint()"  # noqa: S608

PASSES: Final = frozenset({"08", "25", "40", "53", "55", "57", "58", "F0", "XX"})
"""Classes of errors that are the server's own: connections, another kind of server, deadlocks, a full disk or memory,
locks, a shutdown, input and output. They pass by themselves, and the transaction is done again, all of it."""

_PASSED_OVER: Final = object()
"""The outcome of what was not even tried: its wallet is locked."""


class _Held(Exception):
    """A wallet's row was not given within LOCK_WAIT_MS."""


class _Unknown(Exception):
    """COMMIT was not answered, or not by what tells how it ended."""

    def __init__(self, number: str, era: str) -> None:
        super().__init__(f"transaction {number}")
        self.number = number
        self.era = era


class PostgresWriter:
    """Implements committer.Driver. Owns its connection, and opens it anew when it is lost."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._stuck: dict[str | None, int] = {}
        """Wallets that nobody waits for, and until when."""
        self._outcomes: list[Any] = []
        """Of the last transaction, whether or not we know how it ended."""
        self._open()

    def begin(self, batch: list[Job]) -> None:
        """Nothing: every statement waits for the network."""

    def finish(self, batch: list[Job], outcomes: list[Any] | None) -> list[Any]:
        """The whole transaction."""
        try:
            told = self._finished(batch)
        except Exception as error:
            # Whatever it was: a thread that died of it would leave everybody waiting for ever.
            self.close()
            return [unavailable(error, unknown=True) for _ in batch]
        return [
            unavailable(WalletLocked(job.wallet_id)) if outcome is _PASSED_OVER else outcome
            for job, outcome in zip(batch, told, strict=True)
        ]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _finished(self, batch: list[Job]) -> list[Any]:
        now = time.monotonic_ns()
        self._stuck = {wallet: until_ns for wallet, until_ns in self._stuck.items() if until_ns > now}
        free = [job for job in batch if job.wallet_id is not None and job.wallet_id not in self._stuck]
        stuck = [job for job in batch if job.wallet_id in self._stuck]
        told: dict[int, Any] = {}
        if free:
            told.update(zip(map(id, free), self._surely(free), strict=True))
        if stuck:
            told.update(zip(map(id, stuck), self._around(stuck, 0 if free else SOON_NS), strict=True))
        return [told[id(job)] if id(job) in told else self._surely([job])[0] for job in batch]

    def _around(self, batch: list[Job], soon_ns: int) -> list[Any]:
        """Do it without the wallets that somebody has locked; then, for a moment, those that get free."""
        until_ns = time.monotonic_ns() + soon_ns
        told: dict[int, Any] = {}
        rest = batch
        while True:
            told.update(zip(map(id, rest), self._surely(rest, waits=False), strict=True))
            rest = [job for job in rest if told[id(job)] is _PASSED_OVER]
            if not rest or time.monotonic_ns() >= until_ns:
                break
            time.sleep(PAUSE_S)
        for job in batch:
            if told[id(job)] is _PASSED_OVER:
                self._stuck.setdefault(job.wallet_id, time.monotonic_ns() + STUCK_NS)
            else:
                self._stuck.pop(job.wallet_id, None)
        return [told[id(job)] for job in batch]

    def _surely(self, batch: list[Job], *, waits: bool = True) -> list[Any]:
        """Do a batch, again and again while the database is away, and say what each is told."""
        until_ns = time.monotonic_ns() + PATIENCE_NS
        while True:
            try:
                return self._together(batch, waits=waits)
            except _Held as held:
                self._roll_back(held)
                return self._around(batch, SOON_NS)
            except _Unknown as unknown:
                ended = self._read_back(unknown, until_ns)
                if ended is not False:
                    return self._outcomes if ended else [unavailable(unknown, unknown=True) for _ in batch]
                failure: Exception = unknown
            except Exception as error:
                passes = self._roll_back(error)
                if not passes:
                    return [self._alone(job, waits=waits) for job in batch]
                failure = error
            if time.monotonic_ns() >= until_ns:
                return [unavailable(failure) for _ in batch]
            time.sleep(PAUSE_S)

    def _alone(self, job: Job, *, waits: bool) -> Any:
        # Of two replicas that write the same new name, the second was refused by an index, and now finds what it could
        # not see then.
        try:
            return self._together([job], waits=waits and job.wallet_id not in self._stuck)[0]
        except _Held as held:
            self._roll_back(held)
            self._stuck[job.wallet_id] = time.monotonic_ns() + STUCK_NS
            return _PASSED_OVER
        except _Unknown as unknown:
            ended = self._read_back(unknown, 0)
            return self._outcomes[0] if ended else unavailable(unknown, unknown=ended is None)
        except Exception as refusal:
            return unavailable(refusal) if self._roll_back(refusal) else answer(refusal)

    def _together(self, batch: list[Job], *, waits: bool) -> list[Any]:
        """One transaction; the answers are durable when it returns. Raises whatever it met, or _Held, or _Unknown."""
        connection = self._open()
        raw = connection.raw
        wallets = sorted({job.wallet_id for job in batch if job.wallet_id is not None})
        with raw.pipeline():
            raw.execute("BEGIN")
            number, era, locked = self._locked(connection, wallets, waits=waits)
            self._outcomes = [
                _PASSED_OVER if job.wallet_id in locked else self._applied(connection, job) for job in batch
            ]
        # The pipeline's end has brought every answer: from here on only COMMIT can fail.
        try:
            raw.execute("COMMIT")
        except psycopg.IntegrityError:
            raise  # A deferred key: this much is certain.
        except psycopg.Error as error:
            raise _Unknown(number, era) from error
        return self._outcomes

    @staticmethod
    def _locked(connection: Connection, wallets: list[str], *, waits: bool) -> tuple[str, str, list[str]]:
        """Lock the wallets: the transaction's number, its era, and which of them somebody else has locked."""
        try:
            row = connection.raw.execute(_LOCK if waits else _LOCK_WHAT_IS_FREE, {"wallets": wallets}).fetchone()
        except refusals.LockNotAvailable as error:
            if waits:
                raise _Held from error
            raise  # The table itself: this is no single wallet's.
        assert row is not None
        number, era, passed_over, _ = row
        return number, era, passed_over

    @staticmethod
    def _applied(connection: Connection, job: Job) -> Any:
        writes = connection.writes
        try:
            return job.apply(connection, job.command)
        except GatewayError as error:
            if connection.writes != writes:
                raise
            return error

    def _read_back(self, lost: _Unknown, until_ns: int) -> bool | None:
        """How a transaction ended whose COMMIT was not answered: True, False, or None when nobody can tell.

        A crash forgets numbers that it had given out, and gives them to others afterwards: "committed" is then said of
        a transaction that is not ours. So it is believed only within the era in which ours was begun.
        """
        while True:
            try:
                row = self._open().raw.execute(_HOW_IT_ENDED, (lost.number,)).fetchone()
                assert row is not None
                ended, era = row
                if ended == "committed":
                    return True if era == lost.era else None
                if ended == "aborted":
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
                fresh.raw.execute(_LIMITS)
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
            if isinstance(error, refusals.ReadOnlySqlTransaction):
                connection.close()  # A standby: another server, or none yet, takes writes.
        return lost or (isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in PASSES)
