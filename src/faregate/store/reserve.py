"""Taking a hold: judge key, repeat, rates, wallet, and the key's own caps; then write the charge and its holds.

Everything is read and judged before the first write, in the same transaction, so a refusal has nothing to undo. What
is written is checked once more by the database itself.
"""

from typing import Any, Final

from faregate.core.access import NO_ACCESS, judge_active
from faregate.core.errors import (
    GatewayError,
    InFlight,
    PaymentRequired,
    RateLimited,
    Repeated,
    Unauthenticated,
    Unsupported,
)
from faregate.core.ledger import Reserve, Reserved, State, affordable
from faregate.core.limits import headers, judge_abandoned
from faregate.core.money import Nanos, show_credits
from faregate.store import limits, rates, receipts
from faregate.store.database import Connection
from faregate.store.limits import QUOTA, Limit
from faregate.store.rates import Rates
from faregate.store.statements import READ_FUNDS, READ_REPEATED, TAKE_CHARGE, TAKE_HOLD

_UNLIMITED: Final = [None] * 4
"""The caps of most keys, and their rates."""


def reserve(connection: Connection, command: Reserve, owner: tuple[str, int]) -> Reserved:
    """Take the hold that `command` asks for, or what the wallet and the key afford of it. Raises as Ledger.reserve.

    `owner` is the node and its incarnation.
    """
    row = connection.execute(READ_FUNDS, (command.wallet_id, command.key_id)).fetchone()
    if row is None:
        raise Unauthenticated(NO_ACCESS)
    posted, held, floor, moves, revoked_at, expires_at, lost, since, *own = row
    judge_active(revoked_at_ms=revoked_at, expires_at_ms=expires_at, now_ms=command.at_ms)
    if command.idempotency_key is not None:
        _judge_repeat(connection, command)
    if lost is not None and command.abandon_budget is not None:
        judge_abandoned(command.abandon_budget, lost, since, command.at_ms)

    bounds: list[Limit] = []
    pace = rates.NONE
    if own[4:] != _UNLIMITED:
        pace = rates.judged(connection, command, own[4:])
    if own[:4] != _UNLIMITED:
        bounds = limits.read(connection, command.wallet_id, command.key_id, own[:4], command.at_ms)
    spendable = posted - held - floor
    least = min([spendable, *(limit.available for limit in bounds)]) if bounds else spendable
    max_tokens = affordable(command, least)
    if max_tokens is None:
        raise _refusal(command, spendable, bounds, least, pace)

    amount = Nanos(command.input_ceiling + max_tokens * command.output_price)
    wallet = Limit("wallet", command.wallet_id, spendable, moves, 0, True)
    _write(connection, command, owner, amount, [wallet, *bounds])
    quota = next((limit.available - amount for limit in bounds if limit.name == QUOTA), None)
    return Reserved(
        held=amount,
        max_tokens=max_tokens,
        available=Nanos(posted - held - amount),
        quota_available=None if quota is None else Nanos(quota),
        rates=rates.take(connection, command, pace) if pace.buckets else (),
    )


def _write(
    connection: Connection, command: Reserve, owner: tuple[str, int], amount: Nanos, payers: list[Limit]
) -> None:
    wallet_id, charge_id = command.wallet_id, command.charge_id
    connection.execute(
        TAKE_CHARGE,
        (
            wallet_id,
            charge_id,
            command.key_id,
            command.request_id,
            command.idempotency_key,
            command.body_sha256,
            command.model,
            command.price_id,
            amount,
            command.estimated,
            *owner,
            command.at_ms,
        ),
    )
    for payer in payers:
        if not payer.opened:
            limits.open_account(connection, wallet_id, command.key_id, payer, command.at_ms)
        connection.execute(TAKE_HOLD, (wallet_id, charge_id, payer.account_id, payer.moves + 1, amount))


def _judge_repeat(connection: Connection, command: Reserve) -> None:
    row = connection.execute(READ_REPEATED, (command.wallet_id, command.idempotency_key)).fetchone()
    if row is None:
        return
    if row[0] != command.body_sha256:
        raise Unsupported(
            "Idempotency-Key: it was used before with another body. Send the same body, or another key.",
            code="idempotency_mismatch",
        )
    receipt = receipts.receipt(row[1:])
    if receipt.state is State.SETTLED:
        raise Repeated(
            f"Idempotency-Key: this call was made before and billed once, as {receipt.id}; see the receipt in details.",
            charge_id=receipt.id,
            details={"receipt": receipts.as_json(receipt)},
        )
    raise InFlight(
        f"Idempotency-Key: this call is being answered now, as {receipt.id}. Ask again in a second.",
        retry_after_s=1,
        details={"id": receipt.id},
    )


def _refusal(command: Reserve, spendable: int, bounds: list[Limit], least: int, pace: Rates) -> GatewayError:
    """The first that does not cover the call's least: the wallet, then the quota, then the windows."""
    details = _details(command, spendable, least)
    if affordable(command, spendable) is None:
        return PaymentRequired(f"The wallet does not cover this call: {_sentence(details)}", details=details)
    limit = next(limit for limit in bounds if affordable(command, limit.available) is None)
    details = _details(command, limit.available, least)
    if limit.name == QUOTA:
        return PaymentRequired(
            f"This key's lifetime quota does not cover this call: {_sentence(details)}",
            code="quota_exceeded",
            details=details,
        )
    window = limit.name.removeprefix("spend_")
    return RateLimited(
        f"This key's spend limit for {window} does not cover this call: {_sentence(details)}",
        code=limit.name,
        details=details,
        retry_after_s=-(-(limit.ends_at_ms - command.at_ms) // 1_000),
        should_retry=False,
        headers=headers(pace.buckets, command.at_ms),
    )


def _details(command: Reserve, available: int, least: int) -> dict[str, Any]:
    rest = least - command.input_ceiling
    # Where output is free, a refusal means that the input alone was too much.
    tokens = 0 if rest < 0 else min(command.max_tokens, rest // command.output_price)
    return {
        "required": show_credits(command.input_ceiling + command.max_tokens * command.output_price),
        "available": show_credits(available),
        "affordable_max_tokens": tokens,
    }


def _sentence(details: dict[str, Any]) -> str:
    return (
        f"it may cost up to {details['required']} credits, {details['available']} are available, "
        f"which affords max_tokens {details['affordable_max_tokens']}."
    )
