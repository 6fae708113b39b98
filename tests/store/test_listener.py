"""What one replica does, the others know on their next call; and one that cannot hear remembers nothing.

Method: two stores on one database, by two names. One of them may hang on a line that is cut or stalled.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from faregate.core.errors import NotReady, Unauthenticated
from faregate.core.place import Postgres
from faregate.store import listener, postgres, prices
from faregate.store.database import StoreRefused
from faregate.store.store import Store
from tests.postgres import URL
from tests.store.books import KEY, NOW, PEPPER, PRICE, SECRET, fund, opening, reserve
from tests.store.line import Line

DEARER = msgspec.structs.replace(PRICE, id="dearer", valid_from_ms=NOW, input=2_000)


def through(line: Line) -> Any:
    """A store whose database is at the end of a line."""
    return Store.open(Postgres(line.url), pepper=PEPPER, prices=[PRICE], clock=lambda: NOW, node="far")


async def until(seen: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not seen():  # noqa: ASYNC110 - another process tells, when it likes
            await asyncio.sleep(0.01)


async def at_hand(store: Store) -> None:
    """Once the store remembers the key."""
    async with asyncio.timeout(30):
        while store.keys.cached(SECRET) is None:
            await asyncio.sleep(0.01)
            await store.keys.find(SECRET)


async def test_a_key_that_is_revoked_on_one_replica_is_refused_by_the_other_at_once(database: Path) -> None:
    async with opening(database, node="one") as one, opening(database, node="two") as two:
        await fund(one, 10_000_000)
        await at_hand(two)
        await one.office.key_revoke(KEY, at_ms=NOW)

        with pytest.raises(Unauthenticated) as refusal:  # whatever it still remembers
            await two.ledger.reserve(reserve(1))
        assert refusal.value.code == "key_revoked"
        await until(lambda: two.keys.cached(SECRET) is None)
        found = await two.keys.find(SECRET)
        assert found is not None and found.revoked_at_ms == NOW


async def test_another_key_stays_at_hand(database: Path) -> None:
    async with opening(database, node="one") as one, opening(database, node="two") as two:
        await fund(one, 0)
        await one.office.key_create((await one.office.key_find(KEY)).__class__(
            id="key_2", wallet_id="wal_1", name="second", created_at_ms=NOW), secret="second")  # fmt: skip
        await at_hand(two)
        await two.keys.find("second")
        await one.office.key_revoke("key_2", at_ms=NOW)
        await until(lambda: two.keys.cached("second") is None)

        assert two.keys.cached(SECRET) is not None


async def test_a_price_that_is_added_on_one_replica_is_in_force_on_the_other(database: Path) -> None:
    async with opening(database, node="one") as one, opening(database, node="two") as two:
        assert two.prices.price(PRICE.model, NOW) == PRICE
        await one.office.price_add(DEARER)

        await until(lambda: two.prices.price(PRICE.model, NOW) == DEARER)
        assert two.prices.versions() == one.prices.versions() == [PRICE, DEARER]


async def test_what_was_said_while_nobody_listened_is_looked_up(line: Line, database: Path) -> None:
    async with opening(database, node="near") as near, through(line) as far:
        await fund(near, 0)
        await at_hand(far)
        line.down()
        await until(lambda: far.keys.cached(SECRET) is None)
        with pytest.raises(NotReady):
            await far.keys.find(SECRET)
        await near.office.key_revoke(KEY, at_ms=NOW)
        await near.office.price_add(DEARER)
        line.up()

        async with asyncio.timeout(30):
            while True:
                try:
                    found = await far.keys.find(SECRET)
                    break
                except NotReady:
                    await asyncio.sleep(0.05)
        assert found is not None and found.revoked_at_ms == NOW
        await until(lambda: far.prices.price(PRICE.model, NOW) == DEARER)
        await at_hand(far)


NAMED = """
FROM pg_locks WHERE locktype = 'advisory' AND classid = (hashtext('faregate node')::bigint & 4294967295)::oid
  AND objid = (hashtext('one')::bigint & 4294967295)::oid
"""


def end_listener(database: Path) -> None:
    """End the session that holds the name of `one`."""
    with psycopg.connect((database / URL).read_text(), autocommit=True) as other:
        ended = other.execute(f"SELECT pg_terminate_backend(pid) {NAMED} AND granted".encode()).fetchall()
    assert ended == [(True,)]


@contextmanager
def session_in_line_for_the_name(database: Path) -> Iterator[None]:
    """One that gets the name of `one` before its listener can come back, as its old session keeps it on a dead line."""
    with psycopg.connect((database / URL).read_text(), autocommit=True) as old:
        take = "SELECT pg_advisory_lock(hashtext('faregate node'), hashtext('one'))"
        waiting = threading.Thread(target=old.execute, args=(take,))
        waiting.start()
        with psycopg.connect((database / URL).read_text(), autocommit=True) as other:
            while other.execute(f"SELECT 1 {NAMED} AND NOT granted".encode()).fetchone() is None:
                pass
        yield
        waiting.join()


async def test_a_listener_whose_connection_is_ended_trusts_nothing_until_it_listens_again(database: Path) -> None:
    async with opening(database, node="one") as store:
        await fund(store, 0)
        await at_hand(store)
        end_listener(database)
        await until(lambda: store.keys.cached(SECRET) is None)
        await at_hand(store)


async def test_a_listener_hears_while_its_old_session_still_has_the_name_and_takes_it_then(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "ALIVE_S", 0.2)
    async with opening(database, node="one") as one, opening(database, node="two") as two:
        await fund(two, 0)
        await at_hand(one)
        with session_in_line_for_the_name(database):
            end_listener(database)
            await until(lambda: one.keys.cached(SECRET) is None)
            await at_hand(one)
            await two.office.price_add(DEARER)
            await until(lambda: one.prices.price(PRICE.model, NOW) == DEARER)
        with psycopg.connect((database / URL).read_text(), autocommit=True) as other:
            await until(lambda: other.execute(f"SELECT 1 {NAMED} AND granted".encode()).fetchone())


async def test_while_nobody_listens_a_new_price_is_found_before_a_quote(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opening(database, node="one") as one, opening(database, node="two") as two:
        await fund(two, 0)
        await at_hand(one)
        monkeypatch.setattr(listener, "PAUSE_S", 3_600)
        monkeypatch.setattr(prices, "FRESH_NS", 0)
        end_listener(database)
        await until(lambda: one.keys.cached(SECRET) is None)
        await two.office.price_add(DEARER)
        await one.prices.current()

        assert one.prices.price(PRICE.model, NOW) == DEARER


async def test_a_line_that_only_hangs_is_given_up_and_listened_on_again(
    line: Line, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "ALIVE_S", 0.2)
    monkeypatch.setattr(postgres, "CONNECT_S", 2)
    async with opening(database, node="near") as near, through(line) as far:
        await fund(near, 0)
        await at_hand(far)
        line.stall()
        await until(lambda: far.keys.cached(SECRET) is None)
        line.flow()

        await at_hand(far)


async def test_two_live_processes_never_have_one_name(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "NAME_S", 0)
    async with opening(database, node="one") as one:
        with pytest.raises(StoreRefused, match=r"name one is running on .* FAREGATE_SERVER_NODE"):
            async with opening(database, node="one"):
                raise AssertionError("it was opened")
        assert await one.records.writable()
        async with opening(database, node="two", serves=True) as two:
            assert await two.records.writable()
        async with opening(database, node="one", serves=False):  # a command takes no name
            pass
    async with opening(database, node="one") as again:
        assert again.incarnation == 2
