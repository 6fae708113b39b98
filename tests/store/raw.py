"""SQL in the hands of someone who does not use our programs, on a wallet that has 1,000. One text for both databases.

What the two say of a refusal is brought to SQLite's words: a constraint's kind in capitals, beside the database's own.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from faregate.core.place import Place, Postgres
from faregate.store import postgres, schema, schema_postgres, sqlite
from tests.store.books import KEY, WALLET

TABLES: Final = (
    "abandoned", "account", "answer", "batch", "batch_request", "charge", "hold", "key", "meta",
    "native_batch", "node", "price", "rate", "transfer",
)  # fmt: skip
INTEGRITY: Final = (sqlite3.IntegrityError, psycopg.IntegrityError)


class Raw:
    """What both have in common. A subclass has the connection, as the statements know it."""

    connection: Any

    @property
    def tables(self) -> list[str]:
        raise NotImplementedError

    def columns(self, table: str) -> list[str]:
        raise NotImplementedError

    def furnish(self) -> None:
        """Open a wallet with 1,000 in it, and its key, unless they are there."""
        if self.one("SELECT COUNT(*) FROM key") == 0:
            self.do(
                f"INSERT INTO account(wallet_id, id, kind, name, floor, created_at) "
                f"VALUES ('{WALLET}', '{WALLET}', 'wallet', 'main', 0, 0)",
                "INSERT INTO price VALUES ('p', 'small', 0, 1, 1, 1, 1, 1)",
                f"INSERT INTO key(wallet_id, id, digest, name, models, allow_ips, deny_ips, created_at) "
                f"VALUES ('{WALLET}', '{KEY}', x'{'00' * 32}', 'k', '[]', '[]', '[]', 0)",
                self.transfer("ref:1", "topup", ("world", WALLET), 1_000),
            )

    def transaction(self) -> AbstractContextManager[Any]:
        """All of it, or none."""
        raise NotImplementedError

    def do(self, *statements: str) -> None:
        """All in one transaction, or none."""
        with self.transaction():
            for statement in statements:
                self.connection.execute(self.spoken(statement))

    @staticmethod
    def spoken(statement: str) -> str:
        """A text as this database knows it."""
        return statement

    def force(self, *statements: str) -> None:
        """As `do`, with the guards out of the way: what no program could write."""
        raise NotImplementedError

    def plan(self, statement: str) -> list[str]:
        """The steps of a statement that read a table, when it must not read one whole if it can help it."""
        raise NotImplementedError

    def close(self) -> None:
        self.connection.close()

    def one(self, statement: str) -> Any:
        return self.connection.execute(statement).fetchone()[0]

    def rows(self) -> dict[str, list[Any]]:
        """Everything that is kept."""
        found = {table: self.connection.execute(f"SELECT * FROM {table}").fetchall() for table in self.tables}
        return {table: sorted(map(repr, rows)) for table, rows in found.items()}

    def refuses(self, *statements: str, because: str) -> None:
        """See that the database refuses this for that reason, and that it leaves no trace."""
        before = self.rows()
        with pytest.raises(INTEGRITY) as refusal:
            self.do(*statements)
        assert re.search(because, said(refusal.value)), said(refusal.value)
        assert self.rows() == before

    @property
    def funds(self) -> tuple[int, int]:
        """(posted, held) of the wallet."""
        row = self.connection.execute("SELECT posted, held FROM account WHERE id = ?", (WALLET,)).fetchone()
        return row[0], row[1]

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


class SqliteRaw(Raw):
    def __init__(self, path: Path | None) -> None:
        self.connection = sqlite.writer(path) if path else in_memory()
        schema.migrate(self.connection, path or Path("memory"))
        self.furnish()

    @property
    def tables(self) -> list[str]:
        found = self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [name for (name,) in found if not name.startswith("sqlite_")]

    def columns(self, table: str) -> list[str]:
        return [name for _, name, *_ in self.connection.execute(f"PRAGMA table_info({table})")]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def force(self, *statements: str) -> None:
        for (name,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self.connection.execute(f"DROP TRIGGER {name}")
        self.connection.execute("PRAGMA ignore_check_constraints = ON")
        self.connection.execute("PRAGMA foreign_keys = OFF")
        self.do(*statements)

    def plan(self, statement: str) -> list[str]:
        values = (0,) * statement.count("?")
        return [step for *_, step in self.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


class PostgresRaw(Raw):
    def __init__(self, url: str) -> None:
        self.connection = postgres.connect(url, name="faregate raw")
        schema_postgres.migrate(self.connection, Postgres(url))
        self.furnish()

    @property
    def tables(self) -> list[str]:
        found = self.connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY table_name"
        )
        return [name for (name,) in found]

    def columns(self, table: str) -> list[str]:
        found = self.connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() "
            "AND table_name = ? ORDER BY ordinal_position",
            (table,),
        )
        return [name for (name,) in found]

    def transaction(self) -> AbstractContextManager[Any]:
        return self.connection.raw.transaction()  # type: ignore[no-any-return]

    @staticmethod
    def spoken(statement: str) -> str:
        return re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)

    def force(self, *statements: str) -> None:
        self.do(*_without_constraints(self), "SET LOCAL session_replication_role = replica", *statements)

    def plan(self, statement: str) -> list[str]:
        # Tables as small as these are read whole unless that is made dear.
        self.connection.execute("SET enable_seqscan = off")
        count = statement.count("?")
        text = statement
        for number in range(1, count + 1):
            text = text.replace("?", f"${number}", 1)
        self.connection.execute(f"PREPARE planned AS {text}")
        given = f"({', '.join(['NULL'] * count)})" if count else ""
        self.connection.execute("SET plan_cache_mode = force_generic_plan")
        lines = [line for (line,) in self.connection.execute(f"EXPLAIN EXECUTE planned{given}")]
        self.connection.execute("DEALLOCATE planned")
        return [line.strip() for line in lines if "Scan" in line]

    def empty(self) -> None:
        """Take everything out and begin anew, as in a new database."""
        self.do(
            "SET LOCAL session_replication_role = replica",
            *(f"DELETE FROM {table}" for table in self.tables if table not in ("meta", "account")),
            "DELETE FROM account WHERE kind <> 'operator'",
            "UPDATE account SET posted = 0, held = 0, moves = 0, last_transfer = 0, moved_by = NULL",
        )
        self.furnish()


def raw_on(place: Place) -> Raw:
    """SQL on a ledger, which is migrated and furnished when need be."""
    return PostgresRaw(place.url) if isinstance(place, Postgres) else SqliteRaw(place)


def said(refusal: Exception) -> str:
    """What a database said, with the kind of constraint in SQLite's words."""
    kinds: dict[type[Exception], str] = {
        psycopg.errors.CheckViolation: "CHECK constraint failed: ",
        psycopg.errors.UniqueViolation: "UNIQUE constraint failed: ",
        psycopg.errors.ForeignKeyViolation: "FOREIGN KEY constraint failed: ",
        psycopg.errors.NotNullViolation: "NOT NULL constraint failed: ",
    }
    return kinds.get(type(refusal), "") + str(refusal)


def in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for pragma in ("foreign_keys = ON", "recursive_triggers = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _without_constraints(raw: PostgresRaw) -> list[str]:
    found = raw.connection.execute(
        "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c' "
        "AND connamespace = current_schema()::regnamespace"
    )
    return [f'ALTER TABLE {table} DROP CONSTRAINT "{name}"' for table, name in found.fetchall()]
