"""Migrations: each once, whole or not at all, in order."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.store import schema
from faregate.store.database import StoreRefused
from tests.store.raw import TABLES

HERE = Path("here.db")


@pytest.fixture
def empty() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def test_an_empty_database_is_brought_up_to_date_once(empty: sqlite3.Connection) -> None:
    assert schema.version(empty, HERE) == 0
    assert schema.migrate(empty, HERE) == len(schema.migrations())
    before = list(empty.iterdump())
    assert schema.migrate(empty, HERE) == 0
    assert list(empty.iterdump()) == before
    assert schema.check_version(empty, HERE) == schema.migrations()[-1][0]


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [number for number, _ in schema.migrations()] == list(range(1, len(schema.migrations()) + 1))


def test_every_table_is_strict(empty: sqlite3.Connection) -> None:
    schema.migrate(empty, HERE)
    tables = {name: strict for _, name, kind, _, _, strict in empty.execute("PRAGMA table_list") if kind == "table"}
    tables = {name: strict for name, strict in tables.items() if not name.startswith("sqlite_")}

    assert tables == dict.fromkeys(TABLES, 1)


def test_a_migration_that_fails_leaves_nothing(empty: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    schema.migrate(empty, HERE)
    before, after = list(empty.iterdump()), schema.migrations()[-1][0] + 1
    broken = [*schema.migrations(), (after, "CREATE TABLE extra(x);\nINSERT INTO nowhere VALUES (1);\n")]
    monkeypatch.setattr(schema, "migrations", lambda: broken)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(empty, HERE)

    assert list(empty.iterdump()) == before
    monkeypatch.setattr(schema, "migrations", lambda: [*broken[:-1], (after, "CREATE TABLE extra(x);\n")])
    assert schema.migrate(empty, HERE) == 1
    assert schema.version(empty, HERE) == after


def test_a_newer_database_is_named_with_both_versions(empty: sqlite3.Connection) -> None:
    schema.migrate(empty, HERE)
    empty.execute("UPDATE meta SET value = '77'")
    newest = schema.migrations()[-1][0]
    with pytest.raises(StoreRefused, match=rf"version 77.*up to {newest}\b"):
        schema.migrate(empty, HERE)


def test_a_stranger_is_refused(empty: sqlite3.Connection) -> None:
    empty.execute("CREATE TABLE meta(name TEXT, value TEXT)")
    with pytest.raises(StoreRefused, match="not one of"):
        schema.version(empty, HERE)
