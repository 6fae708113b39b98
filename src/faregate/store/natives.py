"""Batches of upstreams (port.Natives): opened, looked after, and taken over from processes that are gone.

The rule: what upstream may have been asked is in the database before it is asked, and what it said as soon as it has.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from faregate.core.batch_commands import Again, End, Ticket
from faregate.core.native_batch import BYTES_MAX, REQUESTS_MAX, GiveBack, Native, NativeState
from faregate.store import batch_queue, native_queue
from faregate.store.batch_making import Owner
from faregate.store.batches import DEAD_MS, NEVER_MS, STEP, STEP_BYTES
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers
from faregate.store.keys import Keys
from faregate.store.lease import Lease
from faregate.store.native_queue import Filling

R = TypeVar("R")

OPEN_MAX: Final = 1_000
"""Looked at in one go."""

_OPEN: Final = """
SELECT o.wallet_id, o.id, o.batch_id, o.upstream, o.upstream_id, o.state, b.state = 'canceling',
  o.node = ? AND o.incarnation = ?, o.node, o.incarnation, b.version, b.beta
FROM native_batch o JOIN batch b ON b.wallet_id = o.wallet_id AND b.id = o.batch_id
LEFT JOIN node n ON n.name = o.node
WHERE o.ended_at IS NULL AND ((o.node = ? AND o.incarnation = ?) OR n.name IS NULL OR o.incarnation < n.incarnation
  OR n.seen_at < (SELECT seen_at FROM node WHERE name = ?) - ?)
ORDER BY o.id LIMIT ?
"""


class Natives:
    """Implements port.Natives for one node in one of its incarnations."""

    def __init__(self, writer: Writer, readers: Readers, keys: Keys, *, node: str, incarnation: int) -> None:
        self._writer = writer
        self._readers = readers
        self._keys = keys
        self._owner: Owner = (node, incarnation)
        self._lease: Lease | None = None

    def leased(self, lease: Lease) -> None:
        """Begin nothing more once this lease is lost or old: others then take over what we look after."""
        self._lease = lease

    async def open(self) -> list[Native]:
        if self._lease is not None and (self._lease.lost or self._lease.lapsed):
            return []
        node, incarnation = self._owner
        # After a time without the database everybody's lease is old: the living are given time to renew theirs.
        dead_ms = DEAD_MS if self._lease is None or self._lease.may_judge() else NEVER_MS
        values = (node, incarnation, node, incarnation, node, dead_ms, OPEN_MAX)
        rows = await self._readers.scan(lambda connection: connection.execute(_OPEN, values).fetchall())
        return [_native(row) for row in rows]

    async def untried(self, models: tuple[str, ...], at_ms: int) -> tuple[str, str] | None:
        if self._lease is not None and (self._lease.lost or self._lease.lapsed):
            return None
        statement, values = native_queue.with_models(native_queue.FIRST, models), (at_ms, at_ms, *models)
        rows = await self._readers.scan(lambda connection: connection.execute(statement, values).fetchall())
        return (rows[0][0], rows[0][1]) if rows else None

    async def fill(self, native: Native, models: tuple[str, ...], at_ms: int) -> list[Ticket]:
        tickets: list[Ticket] = []
        left = BYTES_MAX
        while len(tickets) < REQUESTS_MAX and left > 0:
            command = Filling(native, models, at_ms, min(STEP, REQUESTS_MAX - len(tickets)), min(STEP_BYTES, left))
            some = await self._write(native_queue.fill, command, native.wallet_id)
            if not some:
                break
            tickets += some
            left -= sum(len(ticket.params) for ticket in some)
        return tickets

    async def submit(self, native: Native) -> bool:
        return await self._write(native_queue.submit, native, native.wallet_id)

    async def submitted(self, native: Native) -> bool:
        return await self._write(native_queue.submitted, native, native.wallet_id)

    async def adopt(self, native: Native) -> bool:
        return await self._write(native_queue.adopt, native, native.wallet_id)

    async def ticket(self, native: Native, charge_id: str) -> Ticket | None:
        row = await self._readers.point(native_queue.TICKET, (native.wallet_id, charge_id, native.id))
        return None if row is None else batch_queue.ticket(native.wallet_id, native.batch_id, row)

    async def end(self, native: Native, command: End) -> bool:
        limited = self._keys.may_be_limited(command.ticket.key_id)
        return await self._writer.submit(
            lambda connection, command: batch_queue.end(connection, command, (native.id, 0), limited=limited),
            command,
            wallet_id=native.wallet_id,
            ends=True,
        )

    async def put_back(self, native: Native, command: Again) -> bool:
        return await self._writer.submit(
            lambda connection, command: batch_queue.put_back(connection, command, (native.id, 0)),
            command,
            wallet_id=native.wallet_id,
            ends=True,
        )

    async def give_back(self, command: GiveBack, at_ms: int) -> int:
        native, count = command.native, 0
        while some := await self._writer.submit(
            lambda connection, command: native_queue.give_back(connection, command, STEP),
            command,
            wallet_id=native.wallet_id,
            ends=True,
        ):
            count += some
        await self._writer.submit(
            lambda connection, native: native_queue.finish(connection, native, at_ms),
            native,
            wallet_id=native.wallet_id,
            ends=True,
        )
        return count

    async def _write(self, apply: Callable[[Connection, Any, Owner], R], command: Any, wallet_id: str) -> R:
        owner = self._owner
        return await self._writer.submit(
            lambda connection, command: apply(connection, command, owner), command, wallet_id=wallet_id
        )


def _native(row: Any) -> Native:
    wallet_id, id_, batch_id, upstream, upstream_id, state, canceling, ours, node, incarnation, version, beta = row
    return Native(
        wallet_id=wallet_id,
        id=id_,
        batch_id=batch_id,
        upstream=upstream,
        upstream_id=upstream_id,
        state=NativeState(state),
        canceling=bool(canceling),
        ours=bool(ours),
        owner=(node, incarnation),
        version=version,
        beta=beta,
    )
