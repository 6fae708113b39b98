"""Wallets and the money that the operator moves: top-ups from the world, and corrections with a reason.

Every movement has a reference that is its own in the whole house: sent again, it finds what it did the first time.
"""

from typing import Any, Final

import msgspec

from faregate.core.errors import Conflict, InvalidRequest, NotFound, PaymentRequired
from faregate.core.ledger import OPERATOR_ACCOUNTS, WORLD, Wallet
from faregate.core.money import NANOS_MAX, Nanos, show_credits
from faregate.store.database import Connection
from faregate.store.port import Transfer
from faregate.store.statements import TRANSFER

REFERENCE_PREFIX: Final = "ref:"
"""Keeps the operator's references apart from the ledger's own (`settle:...`)."""

_COLUMNS: Final = "id, name, posted, held, floor, created_at"
BY_ID: Final = f"SELECT {_COLUMNS} FROM account WHERE wallet_id = ? AND id = ? AND kind = 'wallet'"  # noqa: S608 - constants
_BY_NAME: Final = f"SELECT {_COLUMNS} FROM account WHERE kind = 'wallet' AND name = ?"  # noqa: S608 - constants
_ALL: Final = f"SELECT {_COLUMNS} FROM account WHERE kind = 'wallet' ORDER BY created_at, id"  # noqa: S608 - constants
_INSERT: Final = "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES (?, ?, 'wallet', ?, ?, ?)"

_TRANSFER_COLUMNS: Final = "id, idem, kind, debit_id, credit_id, amount, at, memo"
_BY_REFERENCE: Final = f"""
SELECT {_TRANSFER_COLUMNS} FROM transfer WHERE idem = ? AND kind IN ('topup', 'adjust')
"""  # noqa: S608 - constants
_OF_WALLET: Final = f"""
SELECT {_TRANSFER_COLUMNS} FROM transfer WHERE wallet_id = ? AND (debit_id = ? OR credit_id = ?)
ORDER BY id DESC LIMIT ?
"""  # noqa: S608 - constants
_BALANCES: Final = """
SELECT id, SUM(amount / 1000000000), SUM(amount % 1000000000) FROM (
  SELECT credit_id AS id, amount FROM transfer UNION ALL SELECT debit_id AS id, -amount FROM transfer
) AS moved GROUP BY id
"""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet to open."""

    wallet_id: str
    name: str
    floor: Nanos
    at_ms: int


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """Money to move into a wallet, or out of it when the amount is negative."""

    kind: str
    wallet: str
    amount: Nanos
    note: str | None
    reference: str
    at_ms: int


def open_wallet(connection: Connection, opening: Opening) -> Wallet:
    """Open an empty wallet. Raises InvalidRequest or Conflict."""
    name = opening.name
    if not name or name != name.strip():
        raise InvalidRequest("name: a wallet's name is not empty and has no space at its ends.")
    if opening.floor > 0:
        raise InvalidRequest(
            f"floor: a new wallet is empty, so its floor cannot be {show_credits(opening.floor)}, above 0."
        )
    wallet_id = opening.wallet_id
    for taken in (name, wallet_id):
        if _found(connection, taken) is not None:
            raise Conflict(f"name: there is a wallet {taken} already.", code="conflict")
    connection.execute(_INSERT, (wallet_id, wallet_id, name, opening.floor, opening.at_ms))
    return find(connection, wallet_id)


def move(connection: Connection, movement: Movement) -> Transfer:
    """Move money once for a reference. Raises NotFound, InvalidRequest, Conflict or PaymentRequired."""
    target = find(connection, movement.wallet)
    amount = movement.amount
    debit_id, credit_id = (WORLD, target.id) if amount > 0 else (target.id, WORLD)
    idem = REFERENCE_PREFIX + movement.reference
    row = connection.execute(_BY_REFERENCE, (idem,)).fetchone()
    if row is not None:
        first = transfer(row)
        if (first.kind, first.debit_id, first.credit_id, first.amount) != (
            movement.kind,
            debit_id,
            credit_id,
            abs(amount),
        ):
            raise Conflict(
                f"reference: {movement.reference} was used before, for {_sentence(first)}. Give this one its own.",
                code="conflict",
            )
        return first
    _judge(target, amount)
    connection.execute(
        TRANSFER,
        (target.id, idem, movement.kind, debit_id, credit_id, abs(amount), None, movement.at_ms, movement.note),
    )
    return transfer(connection.execute(_BY_REFERENCE, (idem,)).fetchone())


def _judge(target: Wallet, amount: int) -> None:
    if not -NANOS_MAX <= amount <= NANOS_MAX or target.posted + amount > NANOS_MAX:
        raise InvalidRequest(f"amount: a wallet holds at most {show_credits(NANOS_MAX)} credits.")
    spendable = target.available - target.floor
    if amount < 0 and spendable + amount < 0:
        raise PaymentRequired(
            f"amount: wallet {target.name} would go below its floor of {show_credits(target.floor)} credits; "
            f"{show_credits(spendable)} can be taken out, the rest is held or not there.",
            details={"required": show_credits(-amount), "available": show_credits(spendable)},
        )


def find(connection: Connection, id_or_name: str) -> Wallet:
    """A wallet by its id or its name. Raises NotFound."""
    found = _found(connection, id_or_name)
    if found is None:
        raise NotFound(f"There is no wallet {id_or_name}.")
    return found


def _found(connection: Connection, id_or_name: str) -> Wallet | None:
    row = connection.execute(BY_ID, (id_or_name, id_or_name)).fetchone()
    if row is None:
        row = connection.execute(_BY_NAME, (id_or_name,)).fetchone()
    return None if row is None else wallet(row)


def every(connection: Connection) -> list[Wallet]:
    """All wallets, oldest first."""
    return [wallet(row) for row in connection.execute(_ALL)]


def transfers(connection: Connection, id_or_name: str, limit: int) -> list[Transfer]:
    """What moved a wallet's money, newest first."""
    id_ = find(connection, id_or_name).id
    return [transfer(row) for row in connection.execute(_OF_WALLET, (id_, id_, id_, max(0, limit)))]


def operator_accounts(connection: Connection) -> dict[str, int]:
    """The balance of each of the operator's accounts: a sum over all transfers, which may be more than an integer of
    SQLite holds, so it comes in dollars and the rest."""
    # PostgreSQL adds integers to a numeric, which Python knows as a Decimal.
    balances = {id_: int(dollars) * 10**9 + int(nanos) for id_, dollars, nanos in connection.execute(_BALANCES)}
    return {str(name): balances.get(name, 0) for name in OPERATOR_ACCOUNTS}


def wallet(row: tuple[Any, ...]) -> Wallet:
    """Read a row of BY_ID."""
    id_, name, posted, held, floor, created_at = row
    return Wallet(id=id_, name=name, posted=posted, held=held, floor=floor, created_at_ms=created_at)


def transfer(row: tuple[Any, ...]) -> Transfer:
    """Read a row of a transfer. The operator's references are shown as they were given."""
    id_, idem, kind, debit_id, credit_id, amount, at, memo = row
    return Transfer(
        id=id_,
        reference=idem.removeprefix(REFERENCE_PREFIX),
        kind=kind,
        debit_id=debit_id,
        credit_id=credit_id,
        amount=amount,
        at_ms=at,
        memo=memo,
    )


def _sentence(first: Transfer) -> str:
    return f"{first.kind} of {show_credits(first.amount)} credits from {first.debit_id} to {first.credit_id}"
