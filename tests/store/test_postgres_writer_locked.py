"""A wallet whose row a neighbour does not let go: its own calls are refused, and nobody else's.

Method: a real server, and a neighbour that stands still within its transaction.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faregate.core.errors import Internal, NotReady
from faregate.core.ledger import State
from faregate.core.money import Nanos
from faregate.store import postgres, postgres_writer
from faregate.store.committer import Job
from faregate.store.database import Connection, WalletLocked
from faregate.store.postgres_writer import PostgresWriter
from faregate.store.spool import Spool
from faregate.store.store import Store
from tests.postgres import URL
from tests.store.books import NOW, WALLET, fund, funds, key, message, opening, reserve, settle
from tests.store.raw import PostgresRaw

OTHER = "wal_2"
LOCK = f"SELECT 1 FROM account WHERE id = '{WALLET}' FOR NO KEY UPDATE"


class Watched(PostgresWriter):
    """Says what it met, and lets the neighbour go once it has waited in vain for a while."""

    def __init__(self, url: str) -> None:
        self.met: list[str] = []
        self.let_go: Any = lambda: None
        super().__init__(lambda: postgres.connect(url))

    def _roll_back(self, error: Exception) -> bool:
        self.met.append(type(error).__name__)
        passes = super()._roll_back(error)
        self.let_go()
        return passes


@pytest.fixture
def two(postgres_raw: PostgresRaw) -> PostgresRaw:
    """Two wallets."""
    postgres_raw.do(
        f"INSERT INTO account(wallet_id, id, kind, name, floor, created_at) "
        f"VALUES ('{OTHER}', '{OTHER}', 'wallet', 'two', 0, 0)"
    )
    return postgres_raw


@pytest.fixture
def url(two: PostgresRaw) -> str:
    info = two.connection.raw.info
    return f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"


@pytest.fixture
def neighbour(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another replica, in a transaction of its own."""
    with psycopg.connect(url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def driver(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 0)
    monkeypatch.setattr(postgres_writer, "SOON_NS", 0)
    monkeypatch.setattr(postgres_writer, "STUCK_NS", 10**15)
    driver = Watched(url)
    yield driver
    driver.close()


def job(wallet_id: str | None, apply: Any = None) -> Job:
    return Job(apply or (lambda connection, _: wallet_id or "none"), None, "a test", 0.0, wallet_id)


def shown(told: list[Any]) -> list[Any]:
    """Answers, and what refused."""
    return [type(each.__cause__ or each) if isinstance(each, Exception) else each for each in told]


def test_one_locked_wallet_refuses_its_own_calls_and_no_others(
    driver: Watched, neighbour: psycopg.Connection[Any]
) -> None:
    neighbour.execute(LOCK)
    told = driver.finish([job(WALLET), job(OTHER), job(None), job(WALLET), job("wal_unknown")], None)

    assert shown(told) == [WalletLocked, OTHER, "none", WalletLocked, "wal_unknown"]
    assert isinstance(told[0], NotReady) and not told[0].unknown
    neighbour.rollback()
    assert shown(driver.finish([job(WALLET), job(OTHER)], None)) == [WALLET, OTHER]


def test_a_wallet_that_was_waited_for_in_vain_is_not_waited_for_again_until_it_is_free(
    driver: Watched, neighbour: psycopg.Connection[Any]
) -> None:
    neighbour.execute(LOCK)
    for _ in range(3):
        assert shown(driver.finish([job(WALLET), job(OTHER)], None)) == [WalletLocked, OTHER]
    assert driver.met == ["_Held"]
    neighbour.rollback()
    assert shown(driver.finish([job(WALLET)], None)) == [WALLET]
    neighbour.execute(LOCK)
    assert shown(driver.finish([job(WALLET), job(OTHER)], None)) == [WalletLocked, OTHER]
    assert driver.met == ["_Held", "_Held"]


def test_after_a_while_it_is_waited_for_again(
    driver: Watched, neighbour: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "STUCK_NS", 0)
    neighbour.execute(LOCK)
    for _ in range(2):
        driver.finish([job(WALLET)], None)

    assert driver.met == ["_Held", "_Held"]


def test_a_wallet_that_gets_free_in_a_moment_is_done(
    driver: Watched, neighbour: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "SOON_NS", 30_000_000_000)
    neighbour.execute(LOCK)

    def first(connection: Connection, command: Any) -> str:
        neighbour.rollback()  # While the wallet is passed over, and the other's transaction is open.
        return "first"

    told = driver.finish([job(WALLET), job(OTHER, first)], None)
    assert shown(told) == [WALLET, "first"]
    assert driver.met == ["_Held"]


def test_what_the_database_refuses_beside_a_locked_wallet_fails_alone(
    driver: Watched, neighbour: psycopg.Connection[Any]
) -> None:
    neighbour.execute(LOCK)
    told = driver.finish([job(OTHER, lambda connection, _: 1 // 0), job(WALLET), job(OTHER)], None)

    assert [type(each) for each in told] == [Internal, NotReady, str]


def test_a_wallet_that_gets_stuck_while_each_is_done_alone_is_waited_for_once(
    driver: Watched, neighbour: psycopg.Connection[Any]
) -> None:
    def refused(connection: Connection, command: Any) -> None:
        driver.let_go = lambda: neighbour.execute(LOCK)  # once our locks are rolled back
        raise ZeroDivisionError

    told = driver.finish([job(OTHER, refused), *[job(WALLET)] * 3], None)
    assert shown(told)[1:] == [WalletLocked] * 3
    assert driver.met.count("_Held") == 1


def test_a_table_that_is_locked_is_no_wallets_matter(driver: Watched, neighbour: psycopg.Connection[Any]) -> None:
    neighbour.execute("LOCK TABLE account IN ACCESS EXCLUSIVE MODE")

    assert shown(driver.finish([job(WALLET), job(OTHER)], None)) == [psycopg.errors.LockNotAvailable] * 2


def test_a_writer_that_says_nothing_more_within_a_transaction_is_soon_ended_by_the_server(driver: Watched) -> None:
    def limits(connection: Connection, command: Any) -> list[str]:
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        return [connection.execute(f"SHOW {name}").fetchone()[0] for name in names]

    assert driver.finish([job(WALLET, limits)], None) == [["500ms", "5s"]]


# At a start -------------------------------------------------------------------------------------------------------


async def test_one_locked_wallet_keeps_nobody_from_starting_and_nothing_of_it_is_given_back(database: Path) -> None:
    file, url = database / "spool", (database / URL).read_text()
    second = {"wallet_id": OTHER, "key_id": "key_2"}
    async with opening(database, node="a") as store:
        await fund(store, 10_000_000)
        await store.office.wallet_create(wallet_id=OTHER, name="two", floor=Nanos(0), at_ms=NOW)
        await store.office.topup(OTHER, Nanos(10_000_000), note=None, reference="second", at_ms=NOW)
        await store.office.key_create(key(id="key_2", wallet_id=OTHER), secret="sk-fare-two")
        for number, fields in ((1, {}), (2, second), (3, {}), (4, second)):
            await store.ledger.reserve(reserve(number, **fields))
    for command in (settle(1), settle(2, **second)):
        Spool(file).append(command)
    with psycopg.connect(url) as stuck:
        stuck.execute(LOCK)
        async with opening(database, node="a", spool=file) as store:
            assert [await state(store, WALLET, number) for number in (1, 3)] == [State.RESERVED] * 2
            assert await state(store, OTHER, 2) is State.SETTLED
            assert store.ledger.spooled == {message(1)}
            stuck.rollback()
    async with opening(database, node="a", spool=file) as store:
        assert [await state(store, WALLET, number) for number in (1, 3)] == [State.SETTLED, State.RELEASED]
        assert await state(store, OTHER, 4) is State.RELEASED
        assert await funds(store) == (9_850_000, 0)
        assert not file.exists()


async def state(store: Store, wallet_id: str, number: int) -> State | None:
    receipt = await store.records.receipt(wallet_id, message(number))
    return None if receipt is None else receipt.state
