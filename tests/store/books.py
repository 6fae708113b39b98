"""What the store's tests share: a price, commands with plain defaults, and raw SQL on a file with a wallet in it."""

import sqlite3
from pathlib import Path
from typing import Any

from faregate.core.access import Key
from faregate.core.ledger import Basis, Outcome, Release, Reserve, Settle
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.store import schema, sqlite
from faregate.store.store import Store
from faregate.wire.usage import Usage

PEPPER = b"p" * 32
PRICE = PriceVersion(
    id="small@2025",
    model="small",
    valid_from_ms=0,
    input=Nanos(1_000),
    output=Nanos(5_000),
    cache_write_5m=Nanos(1_250),
    cache_write_1h=Nanos(2_000),
    cache_read=Nanos(100),
)
WALLET = "wal_1"
KEY = "key_1"
SECRET = "sk-fare-one"
NOW = 1_700_000_000_000
HOUR = 3_600_000


def message(number: int) -> str:
    return f"msg_{number:026d}"


def reserve(number: int, **fields: Any) -> Reserve:
    """A call that holds 600,000: 100,000 of input and 100 tokens of output."""
    plain: dict[str, Any] = {
        "charge_id": message(number),
        "wallet_id": WALLET,
        "key_id": KEY,
        "request_id": f"req_{number}",
        "model": PRICE.model,
        "price_id": PRICE.id,
        "body_sha256": b"b" * 32,
        "idempotency_key": None,
        "input_ceiling": Nanos(100_000),
        "output_price": Nanos(5_000),
        "max_tokens": 100,
        "min_tokens": 100,
        "estimated": Nanos(200_000),
        "at_ms": NOW + number,
    }
    return Reserve(**(plain | fields))


def settle(number: int, **fields: Any) -> Settle:
    """The end of it: 50 tokens in and 20 out are 150,000."""
    plain: dict[str, Any] = {
        "charge_id": message(number),
        "wallet_id": WALLET,
        "key_id": KEY,
        "outcome": Outcome.OK,
        "usage": Usage(input=50, output=20),
        "basis": Basis.UPSTREAM,
        "charged": Nanos(150_000),
        "shortfall": Nanos(0),
        "upstream": "fake",
        "attempts": 1,
        "at_ms": NOW + 500 + number,
    }
    return Settle(**(plain | fields))


def release(number: int, **fields: Any) -> Release:
    plain: dict[str, Any] = {
        "charge_id": message(number),
        "wallet_id": WALLET,
        "key_id": KEY,
        "outcome": Outcome.UPSTREAM_ERROR,
        "at_ms": NOW + 500 + number,
    }
    return Release(**(plain | fields))


def key(**fields: Any) -> Key:
    plain: dict[str, Any] = {"id": KEY, "wallet_id": WALLET, "name": "first", "created_at_ms": NOW}
    return Key(**(plain | fields))


def opening(folder: Path, **options: Any) -> Any:
    """An owner's store on a file in `folder`, at a clock that stands still."""
    plain: dict[str, Any] = {"pepper": PEPPER, "prices": [PRICE], "clock": lambda: NOW}
    return Store.open(folder / "faregate.db", **(plain | options))


async def fund(store: Store, amount: int, **limits: Any) -> None:
    """Open the wallet with so much in it, and its key."""
    await store.office.wallet_create(wallet_id=WALLET, name="main", floor=Nanos(0), at_ms=NOW)
    if amount:
        await store.office.topup(WALLET, Nanos(amount), note=None, reference="first", at_ms=NOW)
    await store.office.key_create(key(**limits), secret=SECRET)


async def funds(store: Store) -> tuple[int, int]:
    """(posted, held); and the books must be clean."""
    assert [finding for finding in await store.office.audit() if finding.count] == []
    wallet = await store.records.wallet(WALLET)
    assert wallet is not None
    return wallet.posted, wallet.held


class Raw:
    """SQL in the hands of someone who does not use our programs, on a wallet that has 1,000."""

    def __init__(self, path: Path | None = None) -> None:
        self.connection = sqlite.writer(path) if path else _in_memory()
        schema.migrate(self.connection, path or Path("memory"))
        if self.one("SELECT COUNT(*) FROM key") == 0:
            self.do(
                f"INSERT INTO account(wallet_id, id, kind, name, floor, created_at) "
                f"VALUES ('{WALLET}', '{WALLET}', 'wallet', 'main', 0, 0)",
                "INSERT INTO price VALUES ('p', 'small', 0, 1, 1, 1, 1, 1)",
                f"INSERT INTO key(wallet_id, id, digest, name, models, allow_ips, deny_ips, created_at) "
                f"VALUES ('{WALLET}', '{KEY}', zeroblob(32), 'k', '[]', '[]', '[]', 0)",
                self.transfer("ref:1", "topup", ("world", WALLET), 1_000),
            )

    def do(self, *statements: str) -> None:
        """All in one transaction, or none."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                self.connection.execute(statement)
            self.connection.execute("COMMIT")
        except sqlite3.Error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def one(self, statement: str) -> Any:
        return self.connection.execute(statement).fetchone()[0]

    def close(self) -> None:
        self.connection.close()

    @staticmethod
    def transfer(idem: str, kind: str, sides: tuple[str, str], amount: int, charge: str = "NULL") -> str:
        debit, credit = sides
        charge = charge if charge == "NULL" else f"'{charge}'"
        return (
            "INSERT INTO transfer(wallet_id, idem, kind, debit_id, credit_id, amount, charge_id, at) "
            f"VALUES ('{WALLET}', '{idem}', '{kind}', '{debit}', '{credit}', {amount}, {charge}, 0)"
        )

    @staticmethod
    def charge(name: str, held: int = 600) -> str:
        return (
            "INSERT INTO charge(wallet_id, id, key_id, request_id, body_sha256, model, price_id, held, estimated, "
            f"node, incarnation, created_at) VALUES ('{WALLET}', '{name}', '{KEY}', 'r', x'00', 'small', 'p', "
            f"{held}, 9, 'main', 1, 0)"
        )

    def hold(self, name: str, amount: int = 600, account: str = WALLET) -> str:
        moves = self.one(f"SELECT COALESCE(MAX(moves), 0) FROM account WHERE id = '{account}'")
        return (
            "INSERT INTO hold(wallet_id, charge_id, account_id, seq, amount) "
            f"VALUES ('{WALLET}', '{name}', '{account}', {moves + 1}, {amount})"
        )

    @staticmethod
    def settled(name: str, charged: int, shortfall: int = 0) -> str:
        idem = f"'settle:{name}'" if charged else "NULL"
        short = f"'shortfall:{name}'" if shortfall else "NULL"
        return (
            f"UPDATE charge SET state = 'settled', outcome = 'ok', settled_at = 1, input = {charged + shortfall}, "
            f"charged = {charged}, shortfall = {shortfall}, settle_idem = {idem}, shortfall_idem = {short} "
            f"WHERE id = '{name}'"
        )

    @staticmethod
    def released(name: str) -> str:
        return f"UPDATE charge SET state = 'released', outcome = 'shutdown', settled_at = 1 WHERE id = '{name}'"

    def reserve(self, name: str, amount: int = 600) -> None:
        self.do(self.charge(name, amount), self.hold(name, amount))

    def settle(self, name: str, charged: int) -> None:
        self.do(
            self.settled(name, charged), self.transfer(f"settle:{name}", "settle", (WALLET, "revenue"), charged, name)
        )


def _in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for pragma in ("foreign_keys = ON", "recursive_triggers = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection
