"""A connection to PostgreSQL that is lost: what it carried happens once, or is known not to have happened.

Method: a real line to a real server, cut before or behind the COMMIT that it carries; and a server that fails.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faregate.core.errors import NotReady
from faregate.core.ledger import State
from faregate.core.money import Nanos
from faregate.core.place import Postgres
from faregate.store import postgres, postgres_writer
from faregate.store.committer import Job
from faregate.store.database import Connection
from faregate.store.postgres_writer import PostgresWriter
from faregate.store.store import Store
from tests.postgres import URL, Server
from tests.store.books import (
    NOW,
    PEPPER,
    PRICE,
    WALLET,
    fund,
    funds,
    message,
    opening,
    release,
    reserve,
    settle,
)  # fmt: skip
from tests.store.line import AFTER, BEFORE, Line


def through(line: Line, **options: Any) -> Any:
    """A store whose database is at the end of a line."""
    return Store.open(Postgres(line.url), pepper=PEPPER, prices=[PRICE], clock=lambda: NOW, node="main", **options)


async def topup(store: Store, amount: int, reference: str) -> None:
    await store.office.topup(WALLET, Nanos(amount), note=None, reference=reference, at_ms=NOW)


async def state(store: Store, number: int) -> State | None:
    receipt = await store.records.receipt(WALLET, message(number))
    return None if receipt is None else receipt.state


@pytest.mark.parametrize("cut", [BEFORE, AFTER])
async def test_a_commit_whose_answer_was_lost_is_read_back_and_happens_once(
    line: Line, database: Path, cut: str
) -> None:
    async with opening(database, node="beside") as beside, through(line) as store:
        await fund(store, 10_000_000)
        verbs: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: topup(store, 5, "again"),
            lambda: store.ledger.reserve(reserve(1)),
            lambda: store.ledger.settle(settle(1)),
            lambda: store.ledger.reserve(reserve(2)),
            lambda: store.ledger.release(release(2)),
        )
        for number, verb in enumerate(verbs, start=1):
            line.sever()
            line.cut = cut
            await verb()
            assert line.cuts == number

        assert await funds(beside) == (10_000_000 + 5 - 150_000, 0)
        assert [await state(beside, number) for number in (1, 2)] == [State.SETTLED, State.RELEASED]
        assert len(await beside.office.transfers(WALLET, limit=9)) == 3


@pytest.mark.parametrize("cut", [BEFORE, AFTER])
async def test_a_hold_that_nobody_knows_of_is_a_503_and_returns_by_itself(
    line: Line, database: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 300_000_000)
    async with opening(database, node="beside") as beside, through(line) as store:
        await fund(store, 10_000_000)
        line.sever()
        line.cut, line.stays_down = cut, True
        with pytest.raises(NotReady) as refusal:
            await store.ledger.reserve(reserve(1))
        assert refusal.value.code == "database_unavailable" and line.cuts == 1
        line.up()
        await store.ledger.reserve(reserve(2))

        expected = {BEFORE: None, AFTER: State.RELEASED}[cut]
        async with asyncio.timeout(30):
            while await state(beside, 1) is not expected:  # noqa: ASYNC110 - the database alone tells
                await asyncio.sleep(0.05)
        assert await funds(beside) == (10_000_000, 600_000)


@pytest.mark.parametrize("cut", [BEFORE, AFTER])
async def test_a_settle_that_nobody_knows_of_goes_to_the_spool_and_is_charged_once(
    line: Line, database: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 300_000_000)
    spool = database / "spool"
    async with opening(database, node="beside") as beside, through(line, spool=spool) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        line.sever()
        line.cut, line.stays_down = cut, True
        await store.ledger.settle(settle(1))
        assert line.cuts == 1 and spool.exists()
        line.up()

        async with asyncio.timeout(30):
            while spool.exists():  # noqa: ASYNC110 - the database alone tells
                await asyncio.sleep(0.05)
        assert await state(beside, 1) is State.SETTLED
        assert await funds(beside) == (9_850_000, 0)


def test_a_number_that_a_crash_forgot_and_gave_to_another_is_not_taken_for_ours(own_server: Server) -> None:
    writer = PostgresWriter(lambda: postgres.connect(own_server.url))
    ours = psycopg.connect(own_server.url, autocommit=True)
    ours.execute("CREATE TABLE said(what text)")
    number, era = begun(ours)
    own_server.stop("immediate")
    own_server.start()
    other = psycopg.connect(own_server.url, autocommit=True)
    assert begun(other)[0] == number, "the number was not given out again: nothing is shown here"
    other.execute("COMMIT")

    try:
        until_ns = time.monotonic_ns() + postgres_writer.PATIENCE_NS
        assert writer._read_back(postgres_writer._Unknown(number, era), until_ns) is None
        assert other.execute("SELECT COUNT(*) FROM said").fetchone() == (1,)
    finally:
        writer.close()
        ours.close()
        other.close()


def begun(connection: psycopg.Connection[Any]) -> tuple[str, str]:
    """The number and the era of a transaction that has written, and has not ended."""
    connection.execute("BEGIN")
    connection.execute("INSERT INTO said VALUES ('something')")
    asked = f"SELECT pg_current_xact_id()::text, {postgres_writer._ERA} FROM pg_control_checkpoint()"
    row = connection.execute(asked.encode()).fetchone()
    assert row is not None
    return str(row[0]), str(row[1])


def checkpoint(database: Path) -> None:
    """What every server does by itself, each few minutes."""
    with psycopg.connect((database / URL).read_text(), autocommit=True) as beside:
        beside.execute("CHECKPOINT")


async def test_a_lost_commit_is_read_back_however_many_checkpoints_its_connection_has_seen(
    line: Line, database: Path
) -> None:
    async with opening(database, node="beside") as beside, through(line) as store:
        await fund(store, 10_000_000)
        line.sever()
        await topup(store, 1, "a connection that is not new")
        checkpoint(database)
        line.cut = AFTER
        await topup(store, 5, "lost")

        assert line.cuts == 1
        assert await funds(beside) == (10_000_006, 0)


def test_what_was_lost_across_a_checkpoint_is_not_known(line: Line, database: Path) -> None:
    writer = PostgresWriter(lambda: postgres.connect(line.url))

    def across(connection: Connection, command: Any) -> None:
        connection.execute("UPDATE node SET seen_at = 5")
        checkpoint(database)
        line.cut = AFTER

    (told,) = writer.finish([Job(across, None, "a test", 0.0, None)], None)
    writer.close()
    assert isinstance(told, NotReady) and told.unknown and "not known" in told.message


def test_whatever_goes_wrong_the_writer_answers_and_goes_on(line: Line) -> None:
    def connect() -> postgres.Connection:
        if line.cuts == 1:
            line.cuts = 2
            raise OSError("nobody has thought of this")
        return postgres.connect(line.url)

    def cut(connection: Connection, command: Any) -> None:
        line.cut = AFTER

    writer = PostgresWriter(connect)
    (told,) = writer.finish([Job(cut, None, "a test", 0.0, WALLET)], None)
    assert isinstance(told, NotReady) and told.unknown, "it may have been done"
    assert writer.finish([Job(lambda at, _: at.execute("SELECT 7").fetchone(), None, "", 0.0, None)], None) == [(7,)]
    writer.close()


def test_a_writer_that_landed_on_a_standby_looks_for_another_server(database: Path) -> None:
    url = (database / URL).read_text()
    servers = [postgres.connect(url, reads=True), postgres.connect(url)]
    writer = PostgresWriter(lambda: servers.pop(0))

    told = writer.finish([Job(lambda at, _: at.execute("SELECT 7").fetchone(), None, "a test", 0.0, WALLET)], None)
    writer.close()
    assert told == [(7,)] and not servers


async def test_a_server_that_fails_under_load_loses_nothing_and_charges_nothing_twice(
    own_server: Server, tmp_path: Path
) -> None:
    (tmp_path / URL).write_text(own_server.url)
    settled = 0
    async with opening(tmp_path, spool=tmp_path / "spool") as store:
        await fund(store, 10**12)
        done = asyncio.Event()

        async def caller(first: int) -> int:
            mine = 0
            for number in itertools.count(first, 100):
                if done.is_set() and mine:
                    return mine
                try:
                    await store.ledger.reserve(reserve(number))
                except NotReady:
                    await asyncio.sleep(0.01)
                    continue
                await store.ledger.settle(settle(number))
                mine += 1
            raise AssertionError

        callers = [asyncio.ensure_future(caller(number)) for number in range(16)]
        for _ in range(3):
            await asyncio.to_thread(own_server.stop, "immediate")
            await asyncio.to_thread(own_server.start)
            await store_answers(store)
        done.set()
        settled = sum(await asyncio.gather(*callers))
        async with asyncio.timeout(30):
            while await funds(store) != (10**12 - settled * 150_000, 0):  # noqa: ASYNC110 - the database alone tells
                await asyncio.sleep(0.05)
    assert settled >= 16


async def store_answers(store: Store) -> None:
    async with asyncio.timeout(30):
        while not await store.records.writable():  # noqa: ASYNC110 - the database alone tells
            await asyncio.sleep(0.02)
