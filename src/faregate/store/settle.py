"""Ending a charge, with money or without.

The end is a compare-and-set on the state: whoever comes second changes nothing. The database frees the holds with it
and sees at COMMIT that what was charged stands in the ledger.
"""

from faregate.core.errors import Internal, NotReady
from faregate.core.ledger import REVENUE, Lose, Loss, Release, Settle, State
from faregate.store import answers, rates
from faregate.store.database import Connection
from faregate.store.statements import PAY_LIMITS, READ_LOSS, READ_STATE, RELEASE, SETTLE, TRANSFER
from faregate.wire.usage import Usage


def settle(connection: Connection, command: Settle, *, limited: bool) -> None:
    """End a charge with money. `limited` is False only when its key is known to have no limits of its own."""
    wallet_id, charge_id, at_ms = command.wallet_id, command.charge_id, command.at_ms
    charged, shortfall = command.charged, command.shortfall
    settle_idem = f"settle:{charge_id}" if charged else None
    shortfall_idem = f"shortfall:{charge_id}" if shortfall else None
    done = connection.execute(
        SETTLE,
        (
            command.outcome.value,
            *_counts(command.usage),
            command.basis.value,
            charged,
            shortfall,
            settle_idem,
            shortfall_idem,
            command.upstream,
            command.attempts,
            at_ms,
            wallet_id,
            charge_id,
        ),
    )
    if done.rowcount == 0:
        _judge_end(connection, command)
        return
    if charged:
        connection.execute(
            TRANSFER, (wallet_id, settle_idem, "settle", wallet_id, REVENUE, charged, charge_id, at_ms, None)
        )
        if limited:
            connection.execute(PAY_LIMITS, (charged, at_ms, wallet_id, charge_id))
    if shortfall:
        connection.execute(
            TRANSFER,
            (wallet_id, shortfall_idem, "shortfall", Loss.SHORTFALL.value, REVENUE, shortfall, charge_id, at_ms, None),
        )
    _lose(connection, command)
    rates.give_back(connection, command)
    answers.keep(connection, command)


def release(connection: Connection, command: Release) -> bool:
    """End a charge without money; False when there was none open, or none at all."""
    done = connection.execute(
        RELEASE,
        (
            command.outcome.value,
            *_counts(command.usage),
            command.basis.value,
            command.upstream,
            command.attempts,
            command.at_ms,
            command.wallet_id,
            command.charge_id,
        ),
    )
    if done.rowcount == 0:
        return False
    _lose(connection, command)
    rates.give_back(connection, command)
    return True


def lose(connection: Connection, command: Lose) -> None:
    """Book a loss that turned out after the end. Raises NotReady while the charge is open: its end is on its way."""
    charge = command.wallet_id, command.charge_id
    row = connection.execute(READ_STATE, charge).fetchone()
    assert row is not None, "lost by what was never held"
    if row[0] not in (State.SETTLED, State.RELEASED):
        raise NotReady("The charge has not ended yet.", code="database_unavailable")
    if connection.execute(READ_LOSS, (command.wallet_id, f"loss:{command.charge_id}")).fetchone() is None:
        _lose(connection, command)


def _judge_end(connection: Connection, command: Settle) -> None:
    """A settle that changed nothing: it was made before, or it comes too late. Raises Internal for the latter."""
    row = connection.execute(READ_STATE, (command.wallet_id, command.charge_id)).fetchone()
    if row is None:
        raise Internal(f"{command.charge_id} was never held, so it cannot be settled.", details={"too_late": True})
    if row[0] != State.SETTLED:
        # Its owner was taken for dead. Nobody pays for it, so nobody may see its end.
        raise Internal(
            f"{command.charge_id} had been given back before it was settled. You were not billed for it.",
            details={"too_late": True},
        )


def _counts(usage: Usage) -> tuple[int, int, int, int, int]:
    return usage.input, usage.output, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h


def _lose(connection: Connection, command: Settle | Release | Lose) -> None:
    if command.loss is None or not command.loss_amount:
        return
    charge_id = command.charge_id
    connection.execute(
        TRANSFER,
        (
            command.wallet_id,
            f"loss:{charge_id}",
            "loss",
            command.loss.value,
            REVENUE,
            command.loss_amount,
            charge_id,
            command.at_ms,
            None,
        ),
    )
    rates.abandon(connection, command)
