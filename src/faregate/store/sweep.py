"""The sweep: what processes that died had held is given back, at the operator's cost."""

from typing import Final

import msgspec

from faregate.core.ledger import Loss, Outcome, Release
from faregate.core.money import Nanos
from faregate.store.database import Connection
from faregate.store.settle import release
from faregate.store.statements import READ_OPEN

SWEEP_MAX: Final = 1_000
"""Charges swept in one transaction."""


class Swept(msgspec.Struct, frozen=True):
    """What a boot found open of processes that died, and gave back."""

    charges: int
    lost: Nanos
    """Booked as crash_loss: the best guess of what they had cost."""


def sweep(connection: Connection, node: str, incarnation: int, at_ms: int) -> Swept:
    """Release every open charge that is not of this incarnation. Runs before commands are taken.

    Such a charge is an orphan; where one process owns the file, that state and its end are one commit, so only the
    end is written.
    """
    charges, lost = 0, 0
    while rows := connection.execute(READ_OPEN, (node, incarnation, SWEEP_MAX)).fetchall():
        connection.execute("BEGIN IMMEDIATE")
        for wallet_id, charge_id, key_id, estimated in rows:
            release(
                connection,
                Release(
                    charge_id=charge_id,
                    wallet_id=wallet_id,
                    key_id=key_id,
                    outcome=Outcome.GATEWAY_CRASH,
                    loss=Loss.CRASH,
                    loss_amount=estimated,
                    at_ms=at_ms,
                ),
            )
            charges, lost = charges + 1, lost + estimated
        connection.execute("COMMIT")
    return Swept(charges, Nanos(lost))
