"""A second wallet `w`, whose key, charges, holds and limits have the names of the first one's."""

from tests.store.books import KEY, WALLET
from tests.store.raw import Raw

LIMIT = (
    "INSERT INTO account(wallet_id, id, kind, name, key_id, floor, created_at, ends_at) "
    "VALUES ('{}', 'l', 'limit', 'quota', 'k', 0, 0, 9)"
)


def other(statement: str) -> str:
    """The same of the second wallet."""
    return statement.replace(f"'{WALLET}'", "'w'").replace(f"'{KEY}'", "'k'")


def held(raw: Raw, wallet: str, account: str) -> int:
    found = raw.one(f"SELECT held FROM account WHERE wallet_id = '{wallet}' AND id = '{account}'")
    return int(found)


def hold(wallet: str, account: str, seq: int, amount: int, charge: str = "a") -> str:
    return (
        "INSERT INTO hold(wallet_id, charge_id, account_id, seq, amount) "
        f"VALUES ('{wallet}', '{charge}', '{account}', {seq}, {amount})"
    )
