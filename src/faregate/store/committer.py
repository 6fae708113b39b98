"""The group committer: every write of the process in one transaction after another, a batch in each.

    event loop                                        a thread of its own
    submit(apply, command)   queue
    driver.begin(batch): what is quick  ──────────>   driver.finish(batch): COMMIT, and whatever waits
    futures are done                    <───once────

Its one rule: nobody is answered before the COMMIT that holds their command. There is no artificial wait; batches form
by themselves while the commit before them runs. How a batch becomes a transaction is the driver's: sqlite_writer.py,
postgres_writer.py. Its connection is in one pair of hands at a time: the loop's during `begin`, the thread's from there
to the answer.

An `apply` reads, decides and writes, on the connection it is given, and keeps nothing in memory: it may be run again.
What it raises as a GatewayError, before it has written anything, is its answer. A command that the database refuses
fails alone. When the database as a whole fails, nothing of the batch is kept as far as we know, everybody is told
NotReady, and the committer goes on with the next.

Notes are commands that nobody waits for. They ride with the next batch, or go by themselves within NOTE_WAIT_S. One
that the database could not take is left again, so that it is written as soon as the database is well. One that `ends` a
charge is never dropped: what it gives back would be held for ever.
"""

import asyncio
import collections
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from faregate.core.errors import GatewayError, Internal, NotReady
from faregate.store.database import Connection, unavailable

C = TypeVar("C")
R = TypeVar("R")

BATCH_MAX: Final = 64
"""Commands in one transaction: beyond it the gain is small, and the loop would be kept from its streams for longer."""

QUEUE_MAX: Final = 8_192
"""Commands that wait. More means that the disk does not keep up, and a quick 503 is better than a slow one."""

NOTE_WAIT_S: Final = 0.5
"""How long a note may wait for a batch to ride with."""

REFUSED_S: Final = 10.0
"""How long one that was refused waits for its next try, which costs its neighbours a transaction each."""

Apply = Callable[[Connection, C], R]


class Job(NamedTuple):
    """One command on its way into the database."""

    apply: Apply[Any, Any]
    command: Any
    told: "asyncio.Future[Any] | str"
    """Who waits for it, or the name of a note."""
    since: float
    wallet_id: str | None
    """Whose books it changes; None for what is no single wallet's."""
    ends: bool = False
    """Whether it ends a charge, or books what one came to cost: such a note is kept until it is written."""


Observe = Callable[[int, float], None]
"""Told of each batch: how many commands, and how many seconds the first of them waited for its answer."""

Work = Callable[[], list[Any]]
Deliver = Callable[[list[Any]], None]


class Driver(Protocol):
    """How a batch becomes a transaction of one database. Nothing here raises: an outcome may be an exception."""

    def begin(self, batch: list[Job]) -> list[Any] | None:
        """On the event loop: do what waits for nothing. None where that is nothing, or did not go well."""

    def finish(self, batch: list[Job], outcomes: list[Any] | None) -> list[Any]:
        """In the thread: make it durable, however long that takes, and say what each is to be told."""

    def close(self) -> None: ...


class Hand(Protocol):
    """Who carries out what waits: a thread, or a simulation's clock."""

    def __call__(self, work: Work, deliver: Deliver) -> None:
        """Run `work` beside the event loop, then `deliver` its answer on the loop."""

    def close(self) -> None:
        """Finish what was handed over, then take no more."""


class Writer(Protocol):
    """Whoever takes commands: the committer, or nobody, where a database is open for reading only."""

    def submit(
        self, apply: Apply[C, R], command: C, *, wallet_id: str | None = None, ends: bool = False
    ) -> "asyncio.Future[R]": ...

    def note(
        self, name: str, apply: Apply[C, R], command: C, *, wallet_id: str | None = None, ends: bool = False
    ) -> None: ...

    def forget(self, name: str) -> None: ...


class Nobody:
    """The writer of a database that is open for reading only."""

    def submit(
        self, apply: Apply[C, R], command: C, *, wallet_id: str | None = None, ends: bool = False
    ) -> "asyncio.Future[R]":
        """Refuse."""
        raise NotReady("The database is open for reading only.", code="database_unavailable")

    def note(
        self, name: str, apply: Apply[C, R], command: C, *, wallet_id: str | None = None, ends: bool = False
    ) -> None:
        """Refuse."""
        self.submit(apply, command)

    def forget(self, name: str) -> None:
        """There are no notes."""


class Committer:
    """Takes commands from one event loop. Owns `driver` from the start on, and closes it."""

    def __init__(self, driver: Driver, observe: Observe | None = None, hand: Hand | None = None) -> None:
        self._driver = driver
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._hand = hand if hand is not None else Thread(self._loop)
        self._waiting: collections.deque[Job] = collections.deque()
        self._notes: dict[str, Job] = {}
        self._notes_timer: asyncio.TimerHandle | None = None
        self._at_rest = asyncio.Event()
        """Set while the connection is in nobody's hands and nothing waits."""
        self._at_rest.set()
        self._closed = False

    async def close(self) -> None:
        """Take no more, finish what is queued, close the connection. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._notes:
            self._wake()
        await self._at_rest.wait()
        if self._notes_timer is not None:
            self._notes_timer.cancel()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._hand.close()
        self._driver.close()

    def submit(
        self, apply: Apply[C, R], command: C, *, wallet_id: str | None = None, ends: bool = False
    ) -> "asyncio.Future[R]":
        """Queue a command; its future is done after its COMMIT. Raises NotReady when the queue is full or closed.

        A command that `ends` a charge may pass where others are refused: it follows one that was accepted.
        """
        if self._closed or len(self._waiting) >= (2 * QUEUE_MAX if ends else QUEUE_MAX):
            raise unavailable(RuntimeError("closed" if self._closed else f"{QUEUE_MAX} commands are waiting"))
        future: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append(Job(apply, command, future, time.monotonic(), wallet_id))
        self._wake()
        return future

    def note(
        self, name: str, apply: Apply[C, R], command: C, *, wallet_id: str | None = None, ends: bool = False
    ) -> None:
        """Leave a note: written some time soon, unless forgotten first.

        Dropped when there are too many, unless it `ends` a charge: there are no more of those than charges.
        """
        self._leave(Job(apply, command, name, time.monotonic(), wallet_id, ends), name)

    def _leave(self, job: Job, name: str) -> None:
        if (job.ends or len(self._notes) < QUEUE_MAX) and not self._closed:
            self._notes[name] = job
            if self._notes_timer is None:
                self._notes_timer = self._loop.call_later(NOTE_WAIT_S, self._write_notes)

    def _leave_again(self, job: Job, name: str) -> None:
        if name not in self._notes:  # A newer one stands.
            self._leave(job, name)

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
        """Begin the next batch and hand it on; rest when there is none. The connection is in our hands."""
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH_MAX))]
        while self._notes and len(batch) < 2 * BATCH_MAX:
            batch.append(self._notes.popitem()[1])
        if not batch:
            self._at_rest.set()
            return
        outcomes = self._driver.begin(batch)
        self._hand(lambda: self._driver.finish(batch, outcomes), lambda outcomes: self._deliver(batch, outcomes))

    def _deliver(self, batch: list[Job], outcomes: list[Any]) -> None:
        for job, outcome in zip(batch, outcomes, strict=True):
            told = job.told
            if isinstance(told, str):
                if isinstance(outcome, NotReady):
                    self._leave_again(job, told)
                elif isinstance(outcome, Exception) and job.ends:
                    self._loop.call_later(REFUSED_S, self._leave_again, job, told)
            elif told.done():
                continue  # a caller who was cancelled has left
            elif isinstance(outcome, Exception):
                told.set_exception(outcome)
            else:
                told.set_result(outcome)
        # Behind those who were just answered: what they ask for next belongs to the next batch.
        self._loop.call_soon(self._begin)
        if self._observe is not None:
            self._observe(len(batch), time.monotonic() - batch[0].since)


class Thread:
    """The hand that a gateway has: one thread, which does one piece of work after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handed: queue.SimpleQueue[tuple[Work, Deliver] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="faregate-committer", daemon=True)
        self._thread.start()

    def __call__(self, work: Work, deliver: Deliver) -> None:
        self._handed.put((work, deliver))

    def close(self) -> None:
        self._handed.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (handed := self._handed.get()) is not None:
            work, deliver = handed
            told = work()
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody is waiting
                self._loop.call_soon_threadsafe(deliver, told)


def answer(error: BaseException) -> GatewayError:
    """What the sender of a command that failed is told."""
    if isinstance(error, GatewayError):
        return error
    refusal = Internal("The ledger refused this. Nothing was charged.")
    refusal.__cause__ = error
    return refusal
