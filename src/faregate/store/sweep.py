"""The sweep: what processes that died had held is given back, at the operator's cost.

at a start     the charges of this node's older incarnations, at once: it cannot be alive beside itself
by the lease   the charges of other nodes, orphaned first, so that a late owner may still settle (lease.py)
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from faregate.core.ledger import Loss, Outcome, Release, State
from faregate.core.money import Nanos
from faregate.store import settle
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers
from faregate.store.statements import ORPHAN, READ_OPEN

SWEEP_MAX: Final = 1_000
"""Charges looked at in one go."""


class Open(msgspec.Struct, frozen=True):
    """A charge whose owner is dead."""

    wallet_id: str
    id: str
    key_id: str
    estimated: int
    orphaned: bool

    @staticmethod
    def of(row: Sequence[Any]) -> "Open":
        wallet_id, id_, key_id, estimated, state = row
        return Open(wallet_id, id_, key_id, estimated, state == State.ORPHANED)


class Swept(msgspec.Struct, frozen=True):
    """What was found open of processes that died, and given back."""

    charges: int
    lost: Nanos
    """Booked as crash_loss: the best guess of what they had cost."""


async def at_start(
    writer: Writer, readers: Readers, *, node: str, incarnation: int, at_ms: int, spared: Collection[str] = ()
) -> Swept:
    """Release every open charge of this node's older incarnations, but for those `spared`: their settle is known.

    Runs before commands are taken.
    """
    charges, lost, limit = 0, 0, SWEEP_MAX + len(spared)
    while found := [
        charge
        for charge in await readers.scan(lambda connection: _open(connection, node, incarnation, limit))
        if charge.id not in spared
    ]:
        swept = await release(writer, found, at_ms=at_ms)
        charges, lost = charges + swept.charges, lost + swept.lost
    return Swept(charges, Nanos(lost))


async def orphan(writer: Writer, found: Sequence[Open]) -> None:
    """Mark charges whose owner seems to be dead."""
    await asyncio.gather(*(writer.submit(_orphan, charge, wallet_id=charge.wallet_id) for charge in found))


async def release(writer: Writer, found: Sequence[Open], *, at_ms: int) -> Swept:
    """Give back what they had held; those that ended meanwhile are left as they are."""
    ends = [
        Release(
            charge_id=charge.id,
            wallet_id=charge.wallet_id,
            key_id=charge.key_id,
            outcome=Outcome.GATEWAY_CRASH,
            loss=Loss.CRASH,
            loss_amount=Nanos(charge.estimated),
            at_ms=at_ms,
        )
        for charge in found
    ]
    done = await asyncio.gather(
        *(writer.submit(settle.release, end, wallet_id=end.wallet_id, ends=True) for end in ends)
    )
    released = [end for end, was_open in zip(ends, done, strict=True) if was_open]
    return Swept(len(released), Nanos(sum(end.loss_amount for end in released)))


def _open(connection: Connection, node: str, incarnation: int, limit: int) -> list[Open]:
    return [Open.of(row) for row in connection.execute(READ_OPEN, (node, incarnation, limit))]


def _orphan(connection: Connection, charge: Open) -> None:
    connection.execute(ORPHAN, (charge.wallet_id, charge.id))
