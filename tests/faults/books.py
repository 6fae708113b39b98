"""The books as the checker reads them: every row that money hangs on, in one snapshot, with SQL of our own.

One rule: nothing of the gateway is imported, so that a fault of its store cannot hide itself here.

    read_sqlite(path)   read_postgres(url)   ->  Books(accounts, transfers, holds, charges, prices)
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Key = tuple[str, str]
"""A wallet, and an account or a charge of it."""

Usage = dict[str, int]
"""Tokens under the five names of COLUMNS."""

COLUMNS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


class Account(NamedTuple):
    wallet_id: str
    id: str
    posted: int
    held: int
    floor: int | None
    """None is an account of the operator's, which keeps no balance."""
    moves: int


class Transfer(NamedTuple):
    id: int
    wallet_id: str
    kind: str
    debit_id: str
    credit_id: str
    amount: int
    charge_id: str | None


class Hold(NamedTuple):
    wallet_id: str
    charge_id: str
    account_id: str
    seq: int
    amount: int
    closed: int | None


class Charge(NamedTuple):
    wallet_id: str
    id: str
    body_sha256: bytes
    price_id: str
    state: str
    outcome: str | None
    held: int
    basis: str
    charged: int
    shortfall: int
    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int

    @property
    def usage(self) -> Usage:
        return {name: getattr(self, name) for name in COLUMNS}


class Price(NamedTuple):
    id: str
    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int


class Books(NamedTuple):
    accounts: list[Account]
    transfers: list[Transfer]
    holds: list[Hold]
    charges: list[Charge]
    prices: list[Price]


Select = Callable[[str], Sequence[Sequence[Any]]]


def read_sqlite(path: Path) -> Books:
    """Read the file at `path`, whoever else writes to it. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN")
        return _read(lambda query: connection.execute(query).fetchall())
    finally:
        connection.close()


def read_postgres(url: str) -> Books:
    """Read the database at `url`, whoever else writes to it. Raises psycopg.Error."""
    import psycopg  # who checks SQLite needs none of it

    with psycopg.connect(url, connect_timeout=10) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # The names of columns and tables are this file's own.
        return _read(lambda query: connection.execute(query.encode()).fetchall())


def _read(select: Select) -> Books:
    charges = select(f"SELECT {', '.join(Charge._fields)} FROM charge ORDER BY id")
    return Books(
        accounts=[Account(*row) for row in select(f"SELECT {', '.join(Account._fields)} FROM account")],
        transfers=[Transfer(*row) for row in select(f"SELECT {', '.join(Transfer._fields)} FROM transfer ORDER BY id")],
        holds=[Hold(*row) for row in select(f"SELECT {', '.join(Hold._fields)} FROM hold")],
        charges=[Charge(*row)._replace(body_sha256=bytes(row[2])) for row in charges],
        prices=[Price(*row) for row in select(f"SELECT {', '.join(Price._fields)} FROM price")],
    )
