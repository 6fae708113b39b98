"""Making a batch: judge its key and its wallet for all of it, then write a charge and its holds for each request.

A small batch is one transaction. A large one is many, so that no call waits for more than a step: until the last, it is
`creating`, and nobody sees or runs it. One that is not made to its end is undone, by who made it or by who finds it.

    make (all)      judged, opened, filled, begun        or nothing
    open ──> fill, fill, fill ──> begin                  or undo, undo ──> gone
"""

from typing import Final

import msgspec

from faregate.core.access import NO_ACCESS, judge_active
from faregate.core.batch_commands import NewBatch, NewRequest
from faregate.core.errors import GatewayError, Internal, PaymentRequired, RateLimited, Unauthenticated
from faregate.core.ledger import Outcome, Release
from faregate.core.limits import judge_abandoned
from faregate.core.money import Nanos, show_credits
from faregate.store import limits, settle
from faregate.store.database import Connection
from faregate.store.limits import QUOTA, Limit
from faregate.store.statements import READ_FUNDS, TAKE_HOLD

_TAKE_CHARGE: Final = """
INSERT INTO charge(wallet_id, id, key_id, request_id, body_sha256, model, price_id, held, estimated, node, incarnation,
  created_at, tier)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'batch')
"""
_OPEN: Final = """
INSERT INTO batch(wallet_id, id, key_id, total, processing, version, beta, node, incarnation, created_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD: Final = """
INSERT INTO batch_request(wallet_id, batch_id, number, custom_id, charge_id, params) VALUES (?, ?, ?, ?, ?, ?)
"""
_BEGIN: Final = """
UPDATE batch SET state = 'in_progress'
WHERE wallet_id = ? AND id = ? AND state = 'creating' AND node = ? AND incarnation = ?
"""
_DISOWN: Final = """
UPDATE batch SET node = '', incarnation = 0 WHERE wallet_id = ? AND id = ? AND state = 'creating'
"""
_WAITING: Final = "SELECT COALESCE(SUM(processing), 0) FROM batch WHERE wallet_id = ? AND ended_at IS NULL"
_SOME: Final = """
SELECT r.number, r.charge_id, b.key_id FROM batch b
JOIN batch_request r ON r.wallet_id = b.wallet_id AND r.batch_id = b.id
WHERE b.wallet_id = ? AND b.id = ? AND b.state = 'creating' ORDER BY r.number LIMIT ?
"""
_UNADD: Final = "DELETE FROM batch_request WHERE wallet_id = ? AND batch_id = ? AND number = ?"
_UNOPEN: Final = "DELETE FROM batch WHERE wallet_id = ? AND id = ? AND state = 'creating'"

Owner = tuple[str, int]
"""A node and its incarnation."""


class Filling(msgspec.Struct, frozen=True):
    """Some requests of a batch that is being made."""

    batch: NewBatch
    requests: list[NewRequest]


class Undoing(msgspec.Struct, frozen=True):
    """A batch that will not be made, and how much of it to undo in one go."""

    wallet_id: str
    batch_id: str
    at_ms: int
    limit: int


def make(connection: Connection, command: Filling, owner: Owner) -> Nanos:
    """All of a small batch, at once. Raises as `open_batch`; gives what the wallet has available then."""
    open_batch(connection, command.batch, owner)
    available = fill(connection, command, owner)
    begin(connection, command.batch, owner)
    return available


def open_batch(connection: Connection, command: NewBatch, owner: Owner) -> None:
    """Judge a batch as a whole, and open it.

    Raises PaymentRequired (insufficient_credits, quota_exceeded), RateLimited (spend_*, abandoned, batch_requests) or
    Unauthenticated, before anything is written.
    """
    _judged(connection, command, command.ceiling)
    (waiting,) = connection.execute(_WAITING, (command.wallet_id,)).fetchone()
    if waiting + command.total > command.waiting_max:
        raise RateLimited(
            f"This wallet has {waiting} requests waiting in batches and may have {command.waiting_max}: this batch has "
            f"{command.total}. Wait until others have ended, or make it smaller.",
            code="batch_requests",
            should_retry=False,
        )
    connection.execute(
        _OPEN,
        (
            command.wallet_id,
            command.id,
            command.key_id,
            command.total,
            command.total,
            command.version,
            command.beta,
            *owner,
            command.at_ms,
            command.expires_at_ms,
        ),
    )


def judge_bytes(command: NewBatch, waiting: int, more: int) -> None:
    """Bound what a wallet keeps on the disk: an image is large, and holds little. Raises RateLimited."""
    if waiting + more > command.waiting_bytes_max:
        raise RateLimited(
            f"This wallet's waiting requests in batches have {waiting} bytes and may have {command.waiting_bytes_max}: "
            f"this batch has {more}. Wait until others have ended, or make it smaller.",
            code="batch_requests",
            should_retry=False,
        )


def fill(connection: Connection, command: Filling, owner: Owner) -> Nanos:
    """Hold some requests, and write them down. Raises as `open_batch`; gives what the wallet has available then."""
    batch = command.batch
    amount = sum(request.held for request in command.requests)
    payers, available = _judged(connection, batch, amount)
    for payer in payers:
        if not payer.opened:
            limits.open_account(connection, batch.wallet_id, batch.key_id, payer, batch.at_ms)
    for place, request in enumerate(command.requests, start=1):
        connection.execute(
            _TAKE_CHARGE,
            (
                batch.wallet_id,
                request.charge_id,
                batch.key_id,
                batch.request_id,
                request.body_sha256,
                request.model,
                request.price_id,
                request.held,
                request.estimated,
                *owner,
                batch.at_ms,
            ),
        )
        for payer in payers:
            connection.execute(
                TAKE_HOLD, (batch.wallet_id, request.charge_id, payer.account_id, payer.moves + place, request.held)
            )
        connection.execute(
            _ADD,
            (batch.wallet_id, batch.id, request.number, request.custom_id, request.charge_id, request.params),
        )
    return Nanos(available - amount)


def begin(connection: Connection, command: NewBatch, owner: Owner) -> None:
    """It is whole: from now on it is seen, and run. Raises Internal when somebody undoes it, or has."""
    if connection.execute(_BEGIN, (command.wallet_id, command.id, *owner)).rowcount == 0:
        raise Internal(f"{command.id} was undone before it was whole. Nothing of it will be run or billed.")


def undo(connection: Connection, command: Undoing) -> bool:
    """Give back what some requests of it hold, and forget them; with the last, the batch. True when it is gone."""
    batch = command.wallet_id, command.batch_id
    connection.execute(_DISOWN, batch)  # Its maker may live, and is not to begin what is no longer whole.
    found = connection.execute(_SOME, (*batch, command.limit)).fetchall()
    for number, charge_id, key_id in found:
        settle.release(
            connection,
            Release(
                charge_id=charge_id,
                wallet_id=command.wallet_id,
                key_id=key_id,
                outcome=Outcome.GATEWAY_ERROR,
                at_ms=command.at_ms,
            ),
        )
        connection.execute(_UNADD, (*batch, number))
    if len(found) == command.limit:
        return False
    connection.execute(_UNOPEN, batch)
    return True


def _judged(connection: Connection, command: NewBatch, amount: int) -> tuple[list[Limit], int]:
    """Who pays for so much, the wallet first, and what the wallet has available before it does."""
    row = connection.execute(READ_FUNDS, (command.wallet_id, command.key_id)).fetchone()
    if row is None:
        raise Unauthenticated(NO_ACCESS)
    posted, held, floor, moves, revoked_at, expires_at, lost, since, *own = row
    judge_active(revoked_at_ms=revoked_at, expires_at_ms=expires_at, now_ms=command.at_ms)
    if lost is not None and command.abandon_budget is not None:
        judge_abandoned(command.abandon_budget, lost, since, command.at_ms)
    spendable = posted - held - floor
    bounds = limits.read(connection, command.wallet_id, command.key_id, own[:4], command.at_ms)
    payers = [Limit("wallet", command.wallet_id, spendable, moves, 0, True), *bounds]
    for payer in payers:
        if payer.available < amount:
            raise _refusal(command, payer)
    return payers, posted - held


def _refusal(command: NewBatch, payer: Limit) -> GatewayError:
    required, available = show_credits(command.ceiling), show_credits(payer.available)
    sentence = f"its {command.total} requests may cost up to {required} credits, and {available} are available."
    details = {"required": required, "available": available}
    if payer.name == "wallet":
        return PaymentRequired(f"The wallet does not cover this batch: {sentence}", details=details)
    if payer.name == QUOTA:
        return PaymentRequired(
            f"This key's lifetime quota does not cover this batch: {sentence}", code="quota_exceeded", details=details
        )
    return RateLimited(
        f"This key's spend limit for {payer.name.removeprefix('spend_')} does not cover this batch: {sentence}",
        code=payer.name,
        details=details,
        retry_after_s=-(-(payer.ends_at_ms - command.at_ms) // 1_000),
        should_retry=False,
    )
