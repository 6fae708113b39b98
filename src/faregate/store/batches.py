"""Batches (port.Batches): made, read back, run, and tidied up after.

The rule: what has to happen to a batch is written in its rows, and not in memory: whichever process looks next goes
on from there. Lists are read beside the writer; whatever follows from them is judged again by the command.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from faregate.core.batch import KEPT_MS, Batch, RequestState, whole
from faregate.core.batch_commands import Again, End, NewBatch, NewRequest, Ticket
from faregate.core.errors import GatewayError, NotReady
from faregate.core.money import Nanos
from faregate.store import batch_making, batch_queue
from faregate.store.batch_making import Filling, Owner, Undoing
from faregate.store.batch_queue import Named
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers, WalletLocked
from faregate.store.keys import Keys
from faregate.store.lease import Lease

C = TypeVar("C")
R = TypeVar("R")

STEP: Final = 64
"""Requests in one transaction, as many as a batch of the committer has commands: calls wait for one step at most."""
STEP_BYTES: Final = 1 << 20
OPEN_MAX: Final = 1_000
"""Batches looked at in one go."""
DEAD_MS: Final = 40_000
"""A process whose lease is so much older than ours no longer runs what it has claimed (lease.py: LEASE_S, GRACE_S)."""
_NEVER_MS: Final = 2**62

_COLUMNS: Final = """
wallet_id, id, state, total, succeeded, errored, canceled, expired, created_at, expires_at, cancel_at, ended_at,
  archived_at
"""
_SEEN: Final = "deleted_at IS NULL AND state <> 'creating'"
_FIND: Final = f"SELECT {_COLUMNS} FROM batch WHERE wallet_id = ? AND id = ? AND {_SEEN}"  # noqa: S608 - constants
_PAGE: Final = f"SELECT {_COLUMNS} FROM batch WHERE wallet_id = ? AND {_SEEN}"  # noqa: S608 - constants
_OLDER: Final = " AND id < ?"
_NEWER: Final = " AND id > ?"
_DOWN: Final = " ORDER BY id DESC LIMIT ?"
_UP: Final = " ORDER BY id LIMIT ?"
_RESULTS: Final = """
SELECT number, custom_id, state, result FROM batch_request
WHERE wallet_id = ? AND batch_id = ? AND number > ? ORDER BY number LIMIT ?
"""
_WAITING_BYTES: Final = """
SELECT COALESCE(SUM(LENGTH(r.params)), 0) FROM batch b
JOIN batch_request r ON r.wallet_id = b.wallet_id AND r.batch_id = b.id WHERE b.wallet_id = ? AND b.ended_at IS NULL
"""
_OPEN: Final = """
SELECT wallet_id, id FROM (
  SELECT wallet_id, id, ROW_NUMBER() OVER (PARTITION BY wallet_id ORDER BY id) AS place FROM batch
  WHERE ended_at IS NULL AND state = 'in_progress' AND expires_at > ?
    AND EXISTS(SELECT 1 FROM batch_request r WHERE r.wallet_id = batch.wallet_id AND r.batch_id = batch.id
      AND r.state = 'waiting' AND r.again_at <= ?)
) runnable ORDER BY place, id LIMIT ?
"""
_TO_CLOSE: Final = """
SELECT wallet_id, id FROM batch
WHERE ended_at IS NULL AND (state = 'canceling' OR (state = 'in_progress' AND expires_at <= ?))
  AND EXISTS(SELECT 1 FROM batch_request r WHERE r.wallet_id = batch.wallet_id AND r.batch_id = batch.id
    AND r.state = 'waiting')
ORDER BY id LIMIT ?
"""
_GONE: Final = """
(n.name IS NULL OR o.incarnation < n.incarnation OR n.seen_at < (SELECT seen_at FROM node WHERE name = ?) - ?)
"""
_HALF_MADE: Final = f"""
SELECT o.wallet_id, o.id FROM batch o LEFT JOIN node n ON n.name = o.node
WHERE o.ended_at IS NULL AND o.state = 'creating' AND ((o.node = ? AND o.incarnation = ?) OR {_GONE}) LIMIT ?
"""  # noqa: S608 - constants
_LEFT: Final = f"""
SELECT o.wallet_id, o.batch_id, o.number, o.charge_id, c.key_id, c.estimated, o.tries, o.crashes, o.wasted, o.node,
  o.incarnation
FROM batch_request o JOIN charge c ON c.wallet_id = o.wallet_id AND c.id = o.charge_id
LEFT JOIN node n ON n.name = o.node
WHERE o.state = 'running' AND ((o.node = ? AND o.incarnation = ?) OR {_GONE}) LIMIT ?
"""  # noqa: S608 - constants
_OVER: Final = """
SELECT wallet_id, id, archived_at IS NULL AND deleted_at IS NULL FROM batch
WHERE ended_at IS NOT NULL AND emptied = 0
  AND (deleted_at IS NOT NULL OR archived_at IS NOT NULL OR created_at <= ?) LIMIT ?
"""


class Batches:
    """Implements port.Batches for one node in one of its incarnations."""

    def __init__(self, writer: Writer, readers: Readers, keys: Keys, *, node: str, incarnation: int) -> None:
        self._writer = writer
        self._readers = readers
        self._keys = keys
        self._owner: Owner = (node, incarnation)
        self._lease: Lease | None = None
        self._making: set[str] = set()
        """Batches that are being made here, now."""
        self._claimed: set[tuple[str, str, int, int, int]] = set()
        """Claims (Ticket.claim) that are run here, now. What else is ours by its row was claimed unheard."""
        self._doubted: set[tuple[str, str]] = set()
        """Batches of which nobody knows whether they were made: they are canceled if they were."""

    def leased(self, lease: Lease) -> None:
        """Run nothing more once this lease is lost or old: others then take what we have claimed for left."""
        self._lease = lease

    async def make(self, batch: NewBatch, requests: list[NewRequest]) -> Nanos:
        steps = _steps(requests)
        self._making.add(batch.id)
        try:
            # Beside the writer, which is not to add them up: of one wallet a gateway makes one batch at a time.
            (waiting,) = await self._readers.point(_WAITING_BYTES, (batch.wallet_id,)) or (0,)
            batch_making.judge_bytes(batch, int(waiting), sum(len(request.params) for request in requests))
            if len(steps) == 1:
                return await self._write(batch_making.make, Filling(batch, requests), batch.wallet_id)
            return await self._make(batch, steps)
        except BaseException as error:
            if isinstance(error, NotReady) and error.unknown:
                # It may be there all the same, and whoever asked for it does not know its name.
                self._doubted.add((batch.wallet_id, batch.id))
            raise
        finally:
            self._making.discard(batch.id)

    async def _make(self, batch: NewBatch, steps: list[list[NewRequest]]) -> Nanos:
        try:
            await self._write(batch_making.open_batch, batch, batch.wallet_id)
            available = Nanos(0)
            for step in steps:
                available = await self._write(batch_making.fill, Filling(batch, step), batch.wallet_id)
            await self._write(batch_making.begin, batch, batch.wallet_id)
            return available
        except BaseException:
            # Whoever waited is told of it when what it held is back; what cannot be undone now, `tidy` undoes.
            with contextlib.suppress(GatewayError):
                await asyncio.shield(self._undo((batch.wallet_id, batch.id), batch.at_ms))
            raise

    async def find(self, wallet_id: str, batch_id: str) -> Batch | None:
        row = await self._readers.point(_FIND, (wallet_id, batch_id))
        return None if row is None else _batch(row)

    async def page(
        self, wallet_id: str, *, after: str | None, before: str | None, limit: int
    ) -> tuple[list[Batch], bool]:
        bounds = [(_OLDER, after), (_NEWER, before)]
        statement = _PAGE + "".join(text for text, id_ in bounds if id_ is not None)
        # Those just before a cursor are the oldest of the newer ones; one more than the page tells of another.
        up = before is not None and after is None
        values = (wallet_id, *(id_ for _, id_ in bounds if id_ is not None), limit + 1)
        rows = await self._readers.scan(
            lambda connection: connection.execute(statement + (_UP if up else _DOWN), values).fetchall()
        )
        found = [_batch(row) for row in rows[:limit]]
        return found[::-1] if up else found, len(rows) > limit

    async def results(
        self, wallet_id: str, batch_id: str, *, after: int, limit: int
    ) -> list[tuple[int, str, RequestState, bytes | None]]:
        rows = await self._readers.scan(
            lambda connection: connection.execute(_RESULTS, (wallet_id, batch_id, after, limit)).fetchall()
        )
        return [
            (number, custom_id, RequestState(state), None if result is None else bytes(result))
            for number, custom_id, state, result in rows
        ]

    async def cancel(self, wallet_id: str, batch_id: str, at_ms: int) -> None:
        await self._writer.submit(batch_queue.cancel, Named(wallet_id, batch_id, at_ms), wallet_id=wallet_id)

    async def delete(self, wallet_id: str, batch_id: str, at_ms: int) -> bool:
        return await self._writer.submit(batch_queue.delete, Named(wallet_id, batch_id, at_ms), wallet_id=wallet_id)

    async def waiting(self, at_ms: int) -> list[tuple[str, str]]:
        if self._lease is not None and (self._lease.lost or self._lease.lapsed):
            return []
        found = await self._rows(_OPEN, (at_ms, at_ms, OPEN_MAX))
        return [(wallet_id, batch_id) for wallet_id, batch_id in found]

    async def claim(self, wallet_id: str, batch_id: str, at_ms: int) -> Ticket | None:
        ticket = await self._write(batch_queue.claim, Named(wallet_id, batch_id, at_ms), wallet_id)
        if ticket is not None:
            self._claimed.add(ticket.claim)
        return ticket

    async def end(self, command: End) -> bool:
        limited = self._keys.may_be_limited(command.ticket.key_id)
        owner = self._owner

        def ended(connection: Connection, command: End) -> bool:
            return batch_queue.end(connection, command, owner, limited=limited)

        done = await self._writer.submit(ended, command, wallet_id=command.ticket.wallet_id, ends=True)
        self._claimed.discard(command.ticket.claim)
        return done

    async def put_back(self, command: Again) -> bool:
        done = await self._put_back(command, self._owner)
        self._claimed.discard(command.ticket.claim)
        return done

    async def tidy(self, at_ms: int) -> None:
        node, incarnation = self._owner
        # After a time without the database everybody's lease is old: the living are given time to renew theirs.
        dead_ms = DEAD_MS if self._lease is None or self._lease.may_judge() else _NEVER_MS
        gone = (node, incarnation, node, dead_ms, OPEN_MAX)
        for wallet_id, batch_id in list(self._doubted):
            await _unless_locked(self._cancel_doubted(wallet_id, batch_id, at_ms))
        for row in await self._rows(_LEFT, gone):
            if row[-2:] != self._owner or (*row[:3], *row[6:8]) not in self._claimed:
                await _unless_locked(self._take_back(row, at_ms))
        for wallet_id, batch_id in await self._rows(_HALF_MADE, gone):
            if batch_id not in self._making:
                await _unless_locked(self._undo((wallet_id, batch_id), at_ms))
        for wallet_id, batch_id in await self._rows(_TO_CLOSE, (at_ms, OPEN_MAX)):
            await _unless_locked(self._close(Named(wallet_id, batch_id, at_ms, STEP)))

    async def forget(self, at_ms: int) -> None:
        for wallet_id, batch_id, is_kept in await self._rows(_OVER, (at_ms - KEPT_MS, OPEN_MAX)):
            named = Named(wallet_id, batch_id, at_ms, STEP)
            if is_kept:
                await self._writer.submit(batch_queue.archive, named, wallet_id=wallet_id)
            while not await self._writer.submit(batch_queue.empty_some, named, wallet_id=wallet_id):
                pass

    async def _write(self, apply: Callable[[Connection, C, Owner], R], command: C, wallet_id: str) -> R:
        """A command that is told who we are."""
        owner = self._owner
        return await self._writer.submit(
            lambda connection, command: apply(connection, command, owner), command, wallet_id=wallet_id
        )

    async def _put_back(self, command: Again, owner: Owner) -> bool:
        return await self._writer.submit(
            lambda connection, command: batch_queue.put_back(connection, command, owner),
            command,
            wallet_id=command.ticket.wallet_id,
            ends=True,
        )

    async def _take_back(self, row: Any, at_ms: int) -> None:
        """What a process that died had claimed: whether upstream has billed it for that, nobody can tell."""
        wallet_id, batch_id, number, charge_id, key_id, estimated, tries, crashes, wasted, *owner = row
        ticket = Ticket(
            wallet_id=wallet_id, batch_id=batch_id, number=number, charge_id=charge_id, key_id=key_id, request_id="",
            version="", beta=None, price_id="", params=b"", held=Nanos(0), estimated=estimated, tries=tries,
            crashes=crashes, wasted=wasted,
        )  # fmt: skip
        again = Again(
            ticket=ticket, again_at_ms=at_ms, tries=tries, crashes=crashes + 1, wasted=Nanos(wasted + whole(estimated))
        )
        await self._put_back(again, (owner[0], owner[1]))

    async def _undo(self, batch: tuple[str, str], at_ms: int) -> None:
        command = Undoing(*batch, at_ms, STEP)
        while not await self._writer.submit(batch_making.undo, command, wallet_id=batch[0], ends=True):
            pass

    async def _cancel_doubted(self, wallet_id: str, batch_id: str, at_ms: int) -> None:
        await self.cancel(wallet_id, batch_id, at_ms)
        self._doubted.discard((wallet_id, batch_id))

    async def _close(self, closing: Named) -> None:
        while await self._writer.submit(batch_queue.close_some, closing, wallet_id=closing.wallet_id) == STEP:
            pass

    async def _rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        return await self._readers.scan(lambda connection: connection.execute(statement, values).fetchall())


async def _unless_locked(work: Awaitable[None]) -> None:
    """One wallet that a neighbour does not let go keeps no other waiting: it is looked at again the next time."""
    try:
        await work
    except NotReady as error:
        if not isinstance(error.__cause__, WalletLocked):
            raise


def _steps(requests: list[NewRequest]) -> list[list[NewRequest]]:
    steps: list[list[NewRequest]] = [[]]
    size = 0
    for request in requests:
        size += len(request.params)
        if steps[-1] and (len(steps[-1]) == STEP or size > STEP_BYTES):
            steps.append([])
            size = len(request.params)
        steps[-1].append(request)
    return steps


def _batch(row: Any) -> Batch:
    return msgspec.convert(dict(zip(Batch.__struct_fields__, row, strict=True)), Batch)
