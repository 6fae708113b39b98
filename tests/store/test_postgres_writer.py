"""A batch on PostgreSQL: whole, durable, in one order with its neighbours', and never twice.

Method: a real server. Neighbours are other connections to it; a connection that is lost is lost on a real line, before
or behind the COMMIT that it carries.
"""

import asyncio
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faregate.core.errors import Conflict, Internal, NotFound, NotReady
from faregate.core.ledger import State
from faregate.core.money import Nanos
from faregate.store import postgres, postgres_writer, wallets
from faregate.store.committer import Job
from faregate.store.database import Connection
from faregate.store.postgres_writer import PostgresWriter
from faregate.store.store import Store
from tests.postgres import URL
from tests.store.books import (
    NOW,
    PRICE,
    WALLET,
    fund,
    funds,
    key,
    message,
    opening,
    place,
    reserve,
)  # fmt: skip
from tests.store.raw import PostgresRaw, raw_on


def job(apply: Any, command: Any = None, wallet_id: str | None = WALLET) -> Job:
    return Job(apply, command, "a test", 0.0, wallet_id)


def url_of(folder: Path) -> str:
    return (folder / URL).read_text()


async def state(store: Store, number: int) -> State | None:
    receipt = await store.records.receipt(WALLET, message(number))
    return None if receipt is None else receipt.state


def refuse(connection: Connection, command: Any) -> None:
    raise NotFound("nothing")


def refuse_late(connection: Connection, command: Any) -> None:
    connection.execute("UPDATE node SET seen_at = 5")
    raise NotFound("late")


def overdraw(connection: Connection, command: Any) -> None:
    connection.execute(PostgresRaw.transfer("ref:over", "adjust", (WALLET, "world"), 10**12))


def settle_without_a_row(connection: Connection, number: int) -> None:
    connection.execute(PostgresRaw.settled(message(number), 100))


# What a batch is --------------------------------------------------------------------------------------------------


async def test_what_the_database_refuses_fails_alone_at_once_or_at_commit(database: Path) -> None:
    async with opening(database) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        writer = store.ledger._writer
        told = await asyncio.gather(
            store.ledger.reserve(reserve(2)),
            writer.submit(overdraw, None, wallet_id=WALLET),
            writer.submit(settle_without_a_row, 1, wallet_id=WALLET),
            writer.submit(refuse, None, wallet_id=WALLET),
            writer.submit(refuse_late, None, wallet_id=WALLET),
            writer.submit(lambda connection, _: 1 // 0, None, wallet_id=WALLET),
            store.ledger.reserve(reserve(3)),
            return_exceptions=True,
        )

        assert [type(each) for each in told[1:6]] == [Internal, Internal, NotFound, NotFound, Internal]
        assert [await state(store, number) for number in (1, 2, 3)] == [State.RESERVED] * 3
        assert await funds(store) == (10_000_000, 1_800_000)
    raw = raw_on(place(database))
    assert raw.one("SELECT COUNT(*) FROM node WHERE seen_at = 5") == 0
    raw.close()


async def test_a_refusal_costs_its_batch_nothing(database: Path) -> None:
    driver = PostgresWriter(lambda: postgres.connect(url_of(database)))
    numbers: list[int] = []

    def number(connection: Connection, command: Any) -> None:
        numbers.append(connection.execute("SELECT txid_current()").fetchone()[0])

    told = driver.finish([job(number), job(refuse), job(number)], None)
    driver.close()

    assert numbers[0] == numbers[1] and len(numbers) == 2
    assert [type(each) for each in told] == [type(None), NotFound, type(None)]


async def test_what_names_no_wallet_goes_alone(database: Path) -> None:
    driver = PostgresWriter(lambda: postgres.connect(url_of(database)))

    def number(connection: Connection, command: Any) -> Any:
        return connection.execute("SELECT txid_current()").fetchone()[0]

    told = driver.finish([job(number), job(number, wallet_id=None), job(number), job(number, wallet_id=None)], None)
    driver.close()

    assert told[0] == told[2] and len({told[0], told[1], told[3]}) == 3


async def test_a_statement_sees_what_was_committed_before_it_whatever_the_database_thinks_best(database: Path) -> None:
    url = url_of(database)
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'".encode())
    driver = PostgresWriter(lambda: postgres.connect(url))

    told = driver.finish([job(lambda at, _: at.execute("SHOW transaction_isolation").fetchone()[0])], None)
    driver.close()

    assert told == ["read committed"]


async def test_batches_that_cross_wait_for_one_another_and_never_in_a_circle(
    database: Path,
) -> None:
    failures: list[Exception] = []

    class Watched(PostgresWriter):
        """Says what it met, before it does it again."""

        def _roll_back(self, error: Exception) -> bool:
            failures.append(error)
            return super()._roll_back(error)

    async with opening(database) as store:
        for name in ("a", "b", "c", "d"):
            await store.office.wallet_create(wallet_id=name, name=name, floor=Nanos(0), at_ms=NOW)
    drivers = [Watched(lambda: postgres.connect(url_of(database))) for _ in range(3)]
    told: list[Any] = []

    def credit(number: int, turn: int, wallet: str) -> Job:
        move = wallets.Movement(wallet=wallet, amount=Nanos(5), reference=f"{number}-{turn}-{wallet}", kind="topup",
                            note=None, at_ms=NOW)  # fmt: skip
        return job(wallets.move, move, wallet)

    def run(number: int) -> None:
        order = ["abcd", "dcba", "badc"][number]
        for turn in range(60):
            told.extend(drivers[number].finish([credit(number, turn, wallet) for wallet in order], None))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    for driver in drivers:
        driver.close()

    assert len(told) == 720
    assert [each for each in told if isinstance(each, Exception)] == []
    assert failures == []


# Neighbours -------------------------------------------------------------------------------------------------------


async def blocked(raw: PostgresRaw) -> None:
    """Once somebody waits for us."""
    async with asyncio.timeout(30):
        while raw.one("SELECT COUNT(*) FROM pg_locks WHERE NOT granted") == 0:  # noqa: ASYNC110 - the server alone tells
            await asyncio.sleep(0.01)


NAMES = {
    "wallet": lambda store: store.office.wallet_create(wallet_id="wal_2", name="twin", floor=Nanos(0), at_ms=NOW),
    "key": lambda store: store.office.key_create(key(id="key_2"), secret="another"),
    "price": lambda store: store.office.price_add(PRICE.__class__(**{**_facts(), "id": "twin", "valid_from_ms": NOW})),
    "reference": lambda store: store.office.topup(WALLET, Nanos(5), note=None, reference="twin", at_ms=NOW),
}
TWINS = {
    "wallet": "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) "
    "VALUES ('w', 'w', 'wallet', 'twin', 0, 0)",
    "key": f"INSERT INTO key(wallet_id, id, digest, name, models, allow_ips, deny_ips, created_at) "
    f"VALUES ('{WALLET}', 'key_2', x'{'22' * 32}', 'k', '[]', '[]', '[]', 0)",
    "price": "INSERT INTO price VALUES ('twin', 'other', 0, 1, 1, 1, 1, 1)",
    "reference": PostgresRaw.transfer("ref:twin", "topup", ("world", "w"), 5).replace(f"'{WALLET}'", "'w'"),
}


def _facts() -> dict[str, Any]:
    return {name: getattr(PRICE, name) for name in PRICE.__struct_fields__}


@pytest.mark.parametrize("name", NAMES)
async def test_of_two_replicas_that_write_one_new_name_the_second_is_a_conflict(database: Path, name: str) -> None:
    async with opening(database) as store:
        await fund(store, 1_000)
        raw, first = raw_on(place(database)), raw_on(place(database))
        assert isinstance(raw, PostgresRaw)
        if name == "reference":
            raw.do(TWINS["wallet"])
        first.connection.raw.execute("BEGIN")
        first.connection.raw.execute(TWINS[name].replace("x'", r"'\x").encode())
        second = asyncio.ensure_future(NAMES[name](store))
        await blocked(raw)
        first.connection.raw.execute("COMMIT")

        with pytest.raises(Conflict):
            await second
        first.close()
        raw.close()


async def test_a_wallet_that_a_stuck_neighbour_holds_is_a_503_that_holds_and_bills_nothing(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCK_MS", 100)
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 0)
    async with opening(database) as store:
        await fund(store, 10_000_000)
        raw = raw_on(place(database))
        raw.connection.raw.execute("BEGIN")
        raw.connection.raw.execute("SELECT 1 FROM account FOR UPDATE")
        with pytest.raises(NotReady) as refusal:
            await store.ledger.reserve(reserve(1))
        raw.connection.raw.execute("ROLLBACK")
        raw.close()

        assert (refusal.value.status, refusal.value.code) == (503, "database_unavailable")
        await store.ledger.reserve(reserve(2))
        assert await state(store, 1) is None
        assert await funds(store) == (10_000_000, 600_000)


async def test_a_statement_that_runs_too_long_is_ended(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_MS", 100)
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 0)
    driver = PostgresWriter(lambda: postgres.connect(url_of(database)))

    told = driver.finish([job(lambda at, _: at.execute("SELECT pg_sleep(60)").fetchone())], None)
    assert [type(each) for each in told] == [NotReady]
    assert driver.finish([job(lambda at, _: at.execute("SELECT 7").fetchone()[0])], None) == [7]
    driver.close()
