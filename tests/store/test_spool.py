"""The spool: what was told to a caller is on the disk before, is carried out once, and comes before the sweep.

Method: the file alone, and with it a store on each database whose writer is shut out: by a foreign lock on SQLite, by a
neighbour's on PostgreSQL. No settle is taken while it lasts.
"""

import asyncio
import contextlib
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from faregate.core.errors import NotReady
from faregate.core.ledger import Settle, State
from faregate.core.money import Nanos
from faregate.core.place import Postgres
from faregate.store import postgres, postgres_writer, sqlite
from faregate.store.database import StoreRefused
from faregate.store.spool import Spool
from faregate.store.store import Store
from faregate.wire.usage import Usage
from tests.store.books import WALLET, fund, funds, message, opening, place, reserve, settle


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_what_was_kept_is_read_in_order_by_the_next_life(spool: Spool) -> None:
    assert spool.read() == [] and not spool.path.exists()
    for number in (1, 2, 3):
        spool.append(settle(number))

    assert Spool(spool.path).read() == [settle(1), settle(2), settle(3)]
    assert spool.path.stat().st_mode & 0o777 == 0o600
    spool.clear()
    spool.clear()
    assert Spool(spool.path).read() == []


@pytest.mark.parametrize("kept", [1, 8, 9, 40, -1])
def test_a_line_that_a_crash_tore_is_passed_over_and_written_over(spool: Spool, kept: int) -> None:
    spool.append(settle(1))
    whole = spool.path.read_bytes()
    spool.append(settle(2))
    torn = spool.path.read_bytes()[len(whole) :][:kept]
    spool.path.write_bytes(whole + torn)

    assert spool.read() == [settle(1)]
    spool.append(settle(3))
    assert spool.read() == [settle(1), settle(3)]


def test_nothing_of_a_torn_line_is_left_behind_a_shorter_one(spool: Spool) -> None:
    spool.append(settle(1, upstream="x" * 500))
    spool.path.write_bytes(spool.path.read_bytes()[:-1])
    spool.append(settle(2))
    spool.append(settle(3))

    assert spool.read() == [settle(2), settle(3)]
    assert spool.path.read_bytes().count(b"x") == 0


@pytest.mark.parametrize("place", [0, 8, 9, 30])
def test_a_line_that_is_damaged_is_refused_with_its_number(spool: Spool, place: int) -> None:
    for number in (1, 2):
        spool.append(settle(number))
    first, second, _ = spool.path.read_bytes().split(b"\n")
    damaged = second[:place] + bytes([second[place] ^ 1]) + second[place + 1 :]
    spool.path.write_bytes(b"\n".join([first, damaged, b""]))

    with pytest.raises(StoreRefused, match=r"Line 2 of the spool .* take the damaged line out"):
        spool.read()


def test_a_whole_line_that_is_no_settle_is_refused(spool: Spool) -> None:

    text = msgspec.json.encode({"charge_id": 5})
    spool.path.write_bytes(b"%08x %b\n" % (zlib.crc32(text), text))

    with pytest.raises(StoreRefused, match="Line 1"):
        spool.read()


def test_a_spool_that_cannot_be_read_is_named(spool: Spool) -> None:
    spool.path.mkdir()

    with pytest.raises(StoreRefused, match="cannot be read"):
        spool.read()


# With a ledger ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def shut_out(folder: Path) -> Iterator[None]:
    """The database takes nothing from anybody else meanwhile."""
    at = place(folder)
    if isinstance(at, Postgres):
        neighbour = postgres.connect(at.url)
        neighbour.raw.execute("BEGIN")
        neighbour.raw.execute("LOCK TABLE charge IN ACCESS EXCLUSIVE MODE")
        yield
        neighbour.raw.execute("ROLLBACK")
        neighbour.close()
        return
    other = sqlite3.connect(at, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of patience are the user's, not the test's."""
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 50)
    monkeypatch.setattr(postgres, "LOCK_MS", 50)
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 0)


async def state(store: Store, number: int) -> State | None:
    receipt = await store.records.receipt(WALLET, message(number))
    return None if receipt is None else receipt.state


@pytest.mark.usefixtures("impatient")
async def test_while_the_database_is_away_ends_are_seen_and_no_new_call_begins(folder: Path) -> None:
    file = folder / "spool"
    async with opening(folder, spool=file) as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
        with shut_out(folder):
            await asyncio.gather(*(store.ledger.settle(settle(number)) for number in (1, 2)))
            assert {command.charge_id for command in Spool(file).read()} == {message(1), message(2)}
            with pytest.raises(NotReady) as refusal:
                await store.ledger.reserve(reserve(3))
            assert (refusal.value.status, refusal.value.code) == (503, "database_unavailable")

        async with asyncio.timeout(30):
            while file.exists():  # noqa: ASYNC110 - the file alone tells
                await asyncio.sleep(0.02)
        assert [await state(store, number) for number in (1, 2)] == [State.SETTLED] * 2
        assert await funds(store) == (9_700_000, 0)


async def test_what_the_spool_holds_at_a_start_is_carried_out_before_the_dead_are_swept(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
    Spool(folder / "spool").append(settle(1))
    async with opening(folder, spool=folder / "spool") as store:
        assert store.swept.charges == 1
        assert [await state(store, number) for number in (1, 2)] == [State.SETTLED, State.RELEASED]
        assert await funds(store) == (9_850_000, 0)
        assert not (folder / "spool").exists()


async def test_a_settle_that_is_carried_out_again_changes_nothing(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        await store.ledger.settle(settle(1))
    for _ in range(2):
        Spool(folder / "spool").append(settle(1))
    async with opening(folder, spool=folder / "spool") as store:
        assert await funds(store) == (9_850_000, 0)
        assert not (folder / "spool").exists()


async def test_a_settle_whose_hold_had_been_given_back_costs_its_caller_nothing_and_holds_up_nobody(
    folder: Path,
) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
    async with opening(folder) as store:
        assert store.swept.charges == 2
        await store.ledger.reserve(reserve(3))
    for number in (1, 3):
        Spool(folder / "spool").append(settle(number))
    async with opening(folder, spool=folder / "spool") as store:
        assert [await state(store, number) for number in (1, 3)] == [State.RELEASED, State.SETTLED]
        assert await funds(store) == (9_850_000, 0)
        assert not (folder / "spool").exists()


async def test_a_damaged_spool_keeps_the_gateway_from_starting_and_nothing_is_swept(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
    (folder / "spool").write_bytes(b"nonsense\n")
    with pytest.raises(StoreRefused, match="Line 1 of the spool"):
        async with opening(folder, spool=folder / "spool"):
            pass

    async with Store.open_to_read(place(folder)) as reader:
        assert (await reader.office.wallet_find(WALLET)).held == 600_000
    (folder / "spool").unlink()
    async with opening(folder, spool=folder / "spool") as store:
        assert store.swept.lost == Nanos(200_000)


async def test_a_settle_that_the_database_has_something_against_stays_until_it_has_not(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
    lied = settle(1, usage=Usage(input=-5, output=20))  # no such count is taken, and no charge is lost for it
    for command in (lied, settle(2)):
        Spool(folder / "spool").append(command)
    async with opening(folder, spool=folder / "spool") as store:
        assert await state(store, 2) is State.SETTLED
        assert [kept.charge_id for kept in Spool(folder / "spool").read()] == [message(1), message(2)]


@pytest.mark.usefixtures("impatient")
async def test_what_is_in_the_spool_is_carried_out_at_a_stop_where_it_can_be(folder: Path) -> None:
    file = folder / "spool"
    async with opening(folder, spool=file) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        with shut_out(folder):
            await store.ledger.settle(settle(1))
        assert file.exists()
    assert not file.exists()
    async with opening(folder) as store:
        assert await funds(store) == (9_850_000, 0)


@pytest.mark.usefixtures("impatient")
async def test_a_settle_whose_caller_leaves_while_it_is_written_down_is_carried_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, began, go_on = folder / "spool", threading.Event(), threading.Event()
    append = Spool.append

    def slowly(spool: Spool, command: Settle) -> None:
        began.set()
        assert go_on.wait(30)
        append(spool, command)

    monkeypatch.setattr(Spool, "append", slowly)
    async with opening(folder, spool=file) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        with shut_out(folder):
            settling = asyncio.create_task(store.ledger.settle(settle(1)))
            await asyncio.to_thread(began.wait, 30)
            settling.cancel()
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await settling
        async with asyncio.timeout(30):
            while file.exists():  # noqa: ASYNC110 - the file alone tells
                await asyncio.sleep(0.02)
        assert await funds(store) == (9_850_000, 0)
