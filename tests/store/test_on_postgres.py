"""Opening a PostgreSQL database: each start is an incarnation of its own, and what is wrong is one clear sentence.

Method: real databases on a real server; what cannot be reached is a port that nobody listens on.
"""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faregate.core.errors import NotReady
from faregate.core.money import Nanos
from faregate.core.place import Postgres
from faregate.store import on_postgres
from faregate.store.committer import Thread
from faregate.store.database import StoreRefused
from faregate.store.store import Store
from faregate.store.sweep import Swept
from tests.postgres import URL
from tests.store.books import KEY, NOW, PRICE, SECRET, WALLET, fund, funds, message, opening, place, reserve
from tests.store.raw import raw_on


async def refusal(at: Postgres, **options: object) -> str:
    with pytest.raises(StoreRefused) as refused:
        async with Store.open(at, **({"pepper": None} | options)):  # type: ignore[arg-type]
            raise AssertionError("it was opened")
    return str(refused.value)


async def test_an_empty_database_is_made_and_the_next_start_finds_what_was_written(empty: str) -> None:
    at = Postgres(empty)
    async with Store.open(at, pepper=None, prices=[PRICE], clock=lambda: NOW) as store:
        assert store.incarnation == 1
        await fund(store, 1_000)
    async with Store.open(at, pepper=None, prices=[PRICE], clock=lambda: NOW) as store:
        assert store.incarnation == 2
        assert await funds(store) == (1_000, 0)
        assert await store.keys.find(SECRET) is not None  # with the pepper that the database keeps
        assert store.prices.versions() == [PRICE]


async def test_a_start_gives_back_what_its_own_name_had_held_and_leaves_the_neighbours_alone(database: Path) -> None:
    async with opening(database, node="one") as one, opening(database, node="two") as two:
        await fund(one, 10_000_000)
        await one.ledger.reserve(reserve(1))
        await two.ledger.reserve(reserve(2))
    async with opening(database, node="one") as one:
        assert one.swept == Swept(1, Nanos(200_000))
        assert await funds(one) == (10_000_000, 600_000)
        async with opening(database, node="three") as three:
            assert three.swept == Swept(0, Nanos(0))


async def test_who_only_commands_takes_no_number_and_gives_nothing_back(database: Path) -> None:
    async with opening(database) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
    async with opening(database, serves=False) as store:
        assert (store.incarnation, store.swept.charges) == (0, 0)
        assert await funds(store) == (10_000_000, 600_000)


async def test_the_operators_own_pepper_is_asked_for_again(database: Path) -> None:
    at = Postgres((database / URL).read_text())
    async with Store.open(at, pepper=b"o" * 32):
        pass

    assert "set FAREGATE_PEPPER" in await refusal(at)
    assert "not the one" in await refusal(at, pepper=b"q" * 32)
    raw = raw_on(place(database))
    assert raw.one("SELECT COUNT(*) FROM meta WHERE name = 'pepper'") == 0
    raw.close()


async def test_a_server_that_is_not_there_is_refused_without_a_word_of_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    at = Postgres(f"postgresql://ann:s3cret@127.0.0.1:{port}/fares")
    sentence = await refusal(at)

    assert f"postgresql://127.0.0.1:{port}/fares cannot be opened" in sentence
    assert "See that the server runs" in sentence and "s3cret" not in sentence
    with pytest.raises(StoreRefused, match="cannot be opened"):
        async with Store.open_to_read(at):
            pass
    with pytest.raises(StoreRefused, match="cannot be opened"):
        on_postgres.grant_serving(at, "ann")


async def test_a_database_that_is_not_there_is_named(database: Path) -> None:
    url = psycopg.conninfo.make_conninfo((database / URL).read_text(), dbname="nowhere")

    assert '"nowhere" does not exist' in await refusal(Postgres(url))


async def test_an_empty_database_has_nothing_to_read(empty: str) -> None:
    with pytest.raises(StoreRefused, match="is empty"):
        async with Store.open_to_read(Postgres(empty)):
            pass


async def test_readers_work_beside_the_replicas_and_change_nothing(database: Path) -> None:
    async with opening(database) as owner:
        await fund(owner, 1_000)
        async with Store.open_to_read(place(database)) as store:
            assert [wallet.posted for wallet in await store.office.wallets()] == [1_000]
            assert [key.id for key in await store.office.keys(None)] == [KEY]
            assert [finding for finding in await store.office.audit() if finding.count] == []
            assert not await store.records.writable()
            with pytest.raises(NotReady):
                await store.office.topup(WALLET, Nanos(5), note=None, reference="r", at_ms=0)
            with pytest.raises(NotReady):
                await store.office._readers.scan(lambda at: at.execute("UPDATE node SET seen_at = 5"))
        assert await funds(owner) == (1_000, 0)


async def test_a_store_that_was_closed_leaves_no_connection(database: Path) -> None:
    async with opening(database) as store:
        await fund(store, 1_000)
    raw = raw_on(place(database))
    ours = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for _ in range(3_000):  # a server takes a moment to notice
        if raw.one(ours) == 0:
            break
    assert raw.one(ours) == 0
    raw.close()


async def test_a_url_that_names_the_server_that_takes_writes_serves(database: Path) -> None:
    url = psycopg.conninfo.make_conninfo((database / URL).read_text(), target_session_attrs="read-write")
    async with Store.open(Postgres(url), pepper=None, prices=[PRICE], clock=lambda: NOW) as store:
        await fund(store, 1_000)
        assert await store.keys.find(SECRET) is not None
        assert await store.records.writable()


async def test_a_stop_goes_on_while_a_list_is_read_and_ends_it(database: Path) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def read(connection: Any) -> None:
        begun.set()
        assert goes_on.wait(30), "the event loop stood still"
        connection.execute("SELECT pg_sleep(600)")

    opened = opening(database)
    store = await opened.__aenter__()
    reading = asyncio.create_task(store.office._readers.scan(read))
    assert await asyncio.to_thread(begun.wait, 30)
    stopping = asyncio.create_task(opened.__aexit__(None, None, None))
    while store.office._readers._closed is False:  # noqa: ASYNC110 - from here on it ends what is read
        await asyncio.sleep(0.01)
    goes_on.set()
    await stopping

    with pytest.raises(NotReady) as refusal:
        await reading
    assert "statement timeout" not in str(refusal.value.__cause__)


async def test_what_a_stop_still_writes_is_written_under_the_nodes_name(database: Path) -> None:
    held: list[bool] = []
    looking = psycopg.connect((database / URL).read_text(), autocommit=True)
    name = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = " \
           "(SELECT oid FROM pg_database WHERE datname = current_database())"  # fmt: skip

    class Looks(Thread):
        """Does the committer's work, and looks at its end whether the name is still there after a while."""

        def close(self) -> None:
            super().close()
            held.append(all(looking.execute(name).fetchone() == (1,) for _ in range(300)))

    async with opening(database, node="one", hand=Looks(asyncio.get_running_loop())) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        store.ledger.streaming(message(1), WALLET, NOW)

    assert held == [True]
    assert looking.execute("SELECT state FROM charge").fetchone() == ("streaming",)
    looking.close()
