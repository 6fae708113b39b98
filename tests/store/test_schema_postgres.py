"""Migrations on PostgreSQL: each once, whole or not at all, whoever else starts; and the role that serves.

Method: a new, empty database on a real server for each test. A refusal has changed nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from faregate.core.errors import Internal
from faregate.core.money import Nanos
from faregate.core.place import Postgres
from faregate.store import postgres as driver
from faregate.store import schema, schema_postgres
from faregate.store.database import StoreRefused
from faregate.store.postgres import Connection
from faregate.store.schema_postgres import migrate, migrations
from faregate.store.store import Store
from tests import postgres
from tests.postgres import URL
from tests.store.books import KEY, NOW, SECRET, WALLET, fund, funds, key, opening, release, reserve, settle
from tests.store.raw import TABLES, PostgresRaw, SqliteRaw

NEWEST = migrations()[-1][0]


@pytest.fixture
def connection(empty: str) -> Iterator[Connection]:
    connection = driver.connect(empty)
    yield connection
    connection.close()


@pytest.fixture
def at(empty: str) -> Postgres:
    return Postgres(empty)


def contents(connection: Connection) -> list[object]:
    """The tables, and what we have noted of ourselves."""
    tables = connection.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = current_schema() ORDER BY 1, ordinal_position"
    ).fetchall()
    has_meta = any(table == "meta" for table, *_ in tables)
    noted = connection.execute("SELECT name, value FROM meta ORDER BY 1").fetchall() if has_meta else []
    return [*tables, *noted]


def test_an_empty_database_is_brought_up_to_date_once(connection: Connection, at: Postgres) -> None:
    assert schema_postgres.check_version(connection, at) == 0
    assert migrate(connection, at) == NEWEST
    before = contents(connection)

    assert migrate(connection, at) == 0
    assert contents(connection) == before
    assert schema_postgres.check_version(connection, at) == NEWEST


def test_migrations_are_numbered_from_one_without_a_gap_and_as_on_sqlite(tmp_path: Path) -> None:
    assert [number for number, _, _ in migrations()] == list(range(1, NEWEST + 1))
    assert [number for number, _ in schema.migrations("sqlite")] == list(range(1, NEWEST + 1))


def test_tables_and_columns_are_the_same_on_both_databases(postgres_raw: PostgresRaw, tmp_path: Path) -> None:
    other = SqliteRaw(tmp_path / "raw.db")

    ours = {table: postgres_raw.columns(table) for table in postgres_raw.tables}
    assert ours == {table: other.columns(table) for table in other.tables}
    assert all(ours.values()) and tuple(ours) == TABLES
    other.close()


def test_of_processes_that_start_together_one_migrates(empty: str, at: Postgres) -> None:
    done: list[object] = []
    ready = threading.Barrier(4)

    def start() -> None:
        connection = driver.connect(empty)
        ready.wait(30)
        try:
            done.append(migrate(connection, at))
        except Exception as error:
            done.append(error)
        connection.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 4 and all(isinstance(each, int) for each in done), done
    assert sum(each for each in done if isinstance(each, int)) == NEWEST


def test_a_newer_database_is_named_with_both_versions_and_unchanged(connection: Connection, at: Postgres) -> None:
    migrate(connection, at)
    connection.execute("UPDATE meta SET value = '77' WHERE name = 'schema_version'")
    before = contents(connection)

    with pytest.raises(StoreRefused, match=rf"version 77, .* up to {NEWEST}\b"):
        migrate(connection, at)
    assert contents(connection) == before


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_does_not_hold_every_text_is_refused_and_unchanged(tmp_path: Path, encoding: str) -> None:
    url = postgres.fresh_database(like="template0", more=f"ENCODING '{encoding}' LOCALE 'C'")
    (tmp_path / URL).write_text(url)
    for opened in (opening(tmp_path), Store.open_to_read(Postgres(url))):
        with pytest.raises(StoreRefused, match=rf"keeps its texts in {encoding}\b.*createdb -E UTF8 -T template0"):
            await opened.__aenter__()

    connection = driver.connect(url)
    assert contents(connection) == []
    connection.close()
    postgres.drop(url)


def test_a_migration_whose_text_was_edited_is_refused(
    connection: Connection, at: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(connection, at)
    number, text, _ = migrations()[0]
    edited = [(number, text + "-- edited", "another hash"), *migrations()[1:]]
    monkeypatch.setattr(schema_postgres, "migrations", lambda: edited)

    with pytest.raises(StoreRefused, match="another text of migration 1"):
        migrate(connection, at)


@pytest.mark.parametrize("left", [["account"], ["meta", "transfer"]])
def test_what_was_half_run_by_hand_is_refused_with_the_way_out(
    connection: Connection, at: Postgres, left: list[str]
) -> None:
    for table in left:
        connection.execute(f"CREATE TABLE {table}(name text, value text)")
    before = contents(connection)

    with pytest.raises(StoreRefused, match=rf"{', '.join(left)}.*drop those tables, then run `faregate migrate`"):
        migrate(connection, at)
    assert contents(connection) == before


def test_another_programs_tables_are_no_concern_of_ours(connection: Connection, at: Postgres) -> None:
    connection.execute("CREATE TABLE recipes(name text)")

    assert migrate(connection, at) == NEWEST


def test_a_migration_that_fails_leaves_nothing(
    connection: Connection, at: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(connection, at)
    before, after = contents(connection), NEWEST + 1
    whole = migrations()
    broken = [*whole, (after, "CREATE TABLE extra(x int); INSERT INTO nowhere VALUES (1)", "h")]
    monkeypatch.setattr(schema_postgres, "migrations", lambda: broken)
    with pytest.raises(psycopg.errors.UndefinedTable):
        migrate(connection, at)

    assert contents(connection) == before
    monkeypatch.setattr(schema_postgres, "migrations", lambda: [*whole, (after, "CREATE TABLE extra(x int)", "h")])
    assert migrate(connection, at) == 1
    assert schema_postgres.check_version(connection, at) == after


# The role that serves ---------------------------------------------------------------------------------------------


@contextmanager
def new_role(database: Path) -> Iterator[Connection]:
    """`database` is from now on opened as a new role. Gives its owner's connection."""
    file = database / URL
    url = file.read_text()
    owner = driver.connect(url)
    name = f"role_{owner.raw.info.dbname}"
    owner.raw.execute(f'CREATE ROLE "{name}" LOGIN'.encode())
    file.write_text(psycopg.conninfo.make_conninfo(url, user=name))
    yield owner
    owner.raw.execute(f'DROP OWNED BY "{name}"'.encode())
    owner.raw.execute(f'DROP ROLE "{name}"'.encode())
    owner.close()


@pytest.fixture
def serving(database: Path) -> Iterator[Path]:
    """A database that is opened as a role which may serve and no more."""
    with new_role(database) as owner:
        schema_postgres.grant(owner, f"role_{owner.raw.info.dbname}")
        yield database


async def test_a_role_that_was_granted_serving_can_do_all_that_serving_asks(serving: Path) -> None:
    async with opening(serving) as store:
        await fund(store, 10_000_000, quota=Nanos(9_000_000), requests_per_minute=9, concurrency=9)
        for number in (1, 2, 3):
            await store.ledger.reserve(reserve(number, input_tokens=5, abandon_budget=Nanos(5)))
        store.ledger.streaming("msg_none", WALLET, NOW)
        await store.ledger.settle(settle(1))
        await store.ledger.release(release(2))
        assert await store.keys.find(SECRET) is not None
        await store.office.key_create(key(id="key_2"), secret="two")
        await store.office.key_revoke("key_2", at_ms=NOW)
        await store.office.adjust(WALLET, Nanos(-5), note="n", reference="r", at_ms=NOW)
        assert await store.records.writable()
        assert store.ledger._lease is not None
        await store.ledger._lease.renew()
        assert await funds(store) == (10_000_000 - 5 - 150_000, 600_000)
    async with opening(serving) as store:  # and once more, over what the first life left open
        assert store.swept.charges == 1


FORBIDDEN = [
    f"UPDATE account SET posted = 5 WHERE id = '{WALLET}'",
    f"UPDATE account SET held = 0 WHERE id = '{WALLET}'",
    f"UPDATE account SET floor = -5 WHERE id = '{WALLET}'",
    "DELETE FROM account",
    "UPDATE transfer SET amount = 5",
    "DELETE FROM transfer",
    "DELETE FROM charge",
    "UPDATE hold SET closed = 5",
    "DELETE FROM hold",
    "UPDATE price SET input = 5",
    f"UPDATE key SET quota = NULL WHERE id = '{KEY}'",
    "DELETE FROM key",
    "TRUNCATE transfer",
    "TRUNCATE charge, hold",
    "ALTER TABLE account DISABLE TRIGGER ALL",
    "ALTER TABLE transfer DROP CONSTRAINT kind_of_transfer",
    "DROP TABLE transfer",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION hold_taken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    "CREATE TABLE mine(x int)",
]


async def test_a_role_that_serves_cannot_touch_a_balance_nor_what_guards_it(serving: Path) -> None:
    async with opening(serving) as store:
        await fund(store, 10_000_000)
    url = (serving / URL).read_text()
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


async def test_a_role_that_serves_is_refused_by_the_same_guards_as_everybody(serving: Path) -> None:
    async with opening(serving) as store:
        await fund(store, 1_000)
        over = PostgresRaw.transfer("ref:over", "adjust", (WALLET, "world"), 1_001)
        with pytest.raises(Internal):
            await store.ledger._writer.submit(lambda at, _: at.execute(over) and None, None, wallet_id=WALLET)
        assert await funds(store) == (1_000, 0)


async def test_a_role_without_rights_is_told_what_to_run(database: Path) -> None:
    with new_role(database), pytest.raises(StoreRefused, match=r"may not do this: .*Run `faregate migrate` .* --grant"):
        async with opening(database):
            pass


async def test_a_role_that_may_not_change_the_tables_is_told_who_may(empty: str, tmp_path: Path) -> None:
    (tmp_path / URL).write_text(empty)
    with new_role(tmp_path), pytest.raises(StoreRefused, match=r"needs 1, .* with the URL of the tables' owner"):
        async with opening(tmp_path):
            pass


def test_the_end_of_a_charge_reads_its_own_holds_and_no_others_before_any_table_was_analyzed(empty: str) -> None:
    ledger = PostgresRaw(empty)
    for number in range(60):
        ledger.reserve(f"msg_{number}", 1)
        ledger.settle(f"msg_{number}", 1)
    ledger.reserve("msg_last", 1)

    with ledger.transaction():
        before = holds_read(ledger)
        ledger.connection.execute(ledger.settled("msg_last", 1))
        ledger.connection.execute(ledger.transfer("settle:msg_last", "settle", (WALLET, "revenue"), 1, "msg_last"))
        read = holds_read(ledger) - before
    ledger.close()

    assert 0 < read <= 5


def holds_read(ledger: PostgresRaw) -> int:
    """Rows of `hold` that this session has read and not reported yet, by whatever way."""
    found = ledger.one(
        "SELECT SUM(COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables "
        "WHERE relname = 'hold'"
    )
    return int(found)
