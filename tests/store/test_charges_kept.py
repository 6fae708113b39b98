"""What the database does not take for a while is kept, and what it never took leaves nothing behind.

Method: the real ledger. A database that fails for a while is one with a trigger that says so, in the server's own
code; one that has something against a command is one with a trigger that refuses it.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import psycopg
import pytest

from faregate.core.errors import Internal, NotReady
from faregate.core.ledger import State
from faregate.store import charges, committer, postgres_writer, sqlite, sweep
from faregate.store.lease import LEASE_S, Lease, Renewer
from faregate.store.postgres import Readers
from faregate.store.spool import Spool
from faregate.store.store import Store
from faregate.store.sweep import Swept
from tests.postgres import URL
from tests.store.books import NOW, WALLET, fund, funds, message, opening, place, release, reserve, settle
from tests.store.line import AFTER, Line
from tests.store.raw import Raw, raw_on
from tests.store.test_postgres_writer_lost import through
from tests.store.test_settle import late

FAILS = """
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '{code}'; END $$
"""
FAILING = "CREATE TRIGGER failing BEFORE UPDATE OF state ON charge FOR EACH ROW EXECUTE FUNCTION fails()"
REFUSING = {
    "postgres": "CREATE TRIGGER failing BEFORE UPDATE OF state ON charge FOR EACH ROW WHEN {when} "
    "EXECUTE FUNCTION refuse('not today')",
    "sqlite": "CREATE TRIGGER failing BEFORE UPDATE OF state ON charge WHEN {when} "
    "BEGIN SELECT RAISE(ABORT, 'not today'); END",
}
WELL = {"postgres": "DROP TRIGGER failing ON charge", "sqlite": "DROP TRIGGER failing"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of patience are the user's, not the test's."""
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 50)
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 0)
    monkeypatch.setattr(committer, "REFUSED_S", 0.02)
    monkeypatch.setattr(charges, "AGAIN_S", 0.02)


async def state(store: Store, number: int) -> State | None:
    receipt = await store.records.receipt(WALLET, message(number))
    return None if receipt is None else receipt.state


async def until(store: Store, number: int, expected: State) -> None:
    async with asyncio.timeout(30):
        while await state(store, number) is not expected:  # noqa: ASYNC110 - the database alone tells
            await asyncio.sleep(0.02)


def refusing(folder: Path, when: str) -> tuple[Raw, str]:
    """A database that has something against such ends of a charge, until it is told the second."""
    raw = raw_on(place(folder))
    kind = "postgres" if (folder / URL).exists() else "sqlite"
    raw.do(REFUSING[kind].format(when=when))
    return raw, WELL[kind]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("code", ["53100", "53200", "58030", "57P03", "55006", "XX000"])
async def test_while_the_server_fails_ends_are_spooled_and_releases_are_left_as_notes(
    database: Path, code: str
) -> None:
    file = database / "spool"
    async with opening(database, spool=file) as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
        raw = raw_on(place(database))
        raw.do(FAILS.format(code=code), FAILING)
        await store.ledger.settle(settle(1))
        assert store.ledger.spooled == {message(1)} and file.exists()
        with pytest.raises(NotReady):
            await store.ledger.release(release(2))
        raw.do(WELL["postgres"])

        await until(store, 1, State.SETTLED)
        await until(store, 2, State.RELEASED)
        assert await funds(store) == (9_850_000, 0)
    raw.close()


@pytest.mark.usefixtures("impatient")
async def test_a_release_that_the_database_refuses_is_made_once_it_does_not(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        raw, well = refusing(folder, "(true)")
        for _ in range(2):
            with pytest.raises(Internal):
                await store.ledger.release(release(1))
        raw.do(well)
        raw.close()

        await until(store, 1, State.RELEASED)
        assert await funds(store) == (10_000_000, 0)


@pytest.mark.usefixtures("impatient")
async def test_a_settle_that_the_server_fails_at_keeps_no_other_waiting(database: Path) -> None:
    async with opening(database, spool=database / "spool") as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
        raw = raw_on(place(database))
        raw.do(FAILS.format(code="XX001"), FAILING)
        for number in (1, 2):
            await store.ledger.settle(settle(number))
        raw.do(WELL["postgres"], FAILING.replace("EXECUTE", f"WHEN (NEW.id = '{message(1)}') EXECUTE"))

        await until(store, 2, State.SETTLED)
        assert store.ledger.spooled == {message(1)}
        raw.do(WELL["postgres"])
        await until(store, 1, State.SETTLED)
    raw.close()


@pytest.mark.usefixtures("impatient")
async def test_what_the_spool_still_holds_after_a_start_is_not_given_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "SWEEP_MAX", 1)
    file = folder / "spool"
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
    Spool(file).append(settle(1))
    raw, well = refusing(folder, f"(NEW.id = '{message(1)}')")
    async with opening(folder, spool=file) as store:
        assert store.swept.charges == 1
        assert [await state(store, number) for number in (1, 2)] == [State.RESERVED, State.RELEASED]
        raw.do(well)
        await until(store, 1, State.SETTLED)
        assert await funds(store) == (9_850_000, 0)
    raw.close()
    assert not file.exists()


@pytest.mark.usefixtures("impatient")
async def test_a_settle_that_the_server_fails_at_keeps_nobody_from_starting(database: Path) -> None:
    file = database / "spool"
    async with opening(database) as store:
        await fund(store, 10_000_000)
        for number in (1, 2):
            await store.ledger.reserve(reserve(number))
    Spool(file).append(settle(1))
    raw = raw_on(place(database))
    raw.do(FAILS.format(code="XX001"), FAILING.replace("EXECUTE", f"WHEN (NEW.id = '{message(1)}') EXECUTE"))
    async with opening(database, spool=file) as store:
        assert [await state(store, number) for number in (1, 2)] == [State.RESERVED, State.RELEASED]
        raw.do(WELL["postgres"])
        await until(store, 1, State.SETTLED)
        assert await funds(store) == (9_850_000, 0)
    raw.close()


@pytest.mark.usefixtures("impatient")
async def test_a_hold_that_was_certainly_not_taken_leaves_no_release_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "NOTE_WAIT_S", 60)
    sizes: list[int] = []
    async with opening(tmp_path, observe=lambda size, wait_s: sizes.append(size)) as store:
        await fund(store, 10_000_000)
        other = sqlite3.connect(tmp_path / "faregate.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotReady):
            await store.ledger.reserve(reserve(1))
        other.close()
        await store.ledger.reserve(reserve(2))

    assert sizes == [1] * len(sizes)


async def test_a_loss_that_waits_for_its_charges_end_is_not_forgotten_by_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "NOTE_WAIT_S", 60)
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1))
    with pytest.raises(NotReady):
        await store.ledger.lose(late(1, 70_000))
    await store.ledger.release(release(1))
    await store.ledger.reserve(reserve(2))  # the note goes with it, or went with the release

    assert (await store.office.operator_accounts())["abandon_loss"] == -70_000


async def test_a_hold_that_may_have_been_taken_gives_back_its_rates_too(
    line: Line, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 300_000_000)
    rated = {"input_tokens": 10, "output_tokens": 20, "input_tokens_max": 1_000, "at_ms": NOW}
    async with opening(database, node="beside") as beside, through(line) as store:
        await fund(store, 10_000_000, input_tokens_per_minute=100, output_tokens_per_minute=200)
        line.sever()
        line.cut, line.stays_down = AFTER, True
        with pytest.raises(NotReady, match="Nothing was charged"):
            await store.ledger.reserve(reserve(1, **rated))
        line.up()
        await until(beside, 1, State.RELEASED)

        reserved = await beside.ledger.reserve(reserve(2, **rated))
        assert {bucket.name: bucket.remaining for bucket in reserved.rates} == {
            "input_tokens": 90,
            "output_tokens": 180,
        }


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("age_s", [0, LEASE_S + 5], ids=["renewed", "lapsed"])
async def test_an_end_is_spooled_only_while_nobody_else_may_have_given_the_call_back(
    database: Path, age_s: int
) -> None:
    file = database / "spool"
    async with opening(database, node="a", spool=file) as store, contextlib.AsyncExitStack() as stack:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        now = [0]
        url = (database / URL).read_text()
        lease = Lease(Renewer(url), Readers(url, connections=1), store.ledger._writer, node="a", swept=_unheard,
                      incarnation=store.incarnation, now_ms=lambda: NOW, clock=lambda: now[0])  # fmt: skip
        stack.push_async_callback(lease.close)
        await lease.renew()
        now[0] += age_s
        store.ledger.leased(lease)
        with psycopg.connect((database / URL).read_text()) as other:
            other.execute("LOCK TABLE charge IN ACCESS EXCLUSIVE MODE")
            if age_s:
                with pytest.raises(NotReady):
                    await store.ledger.settle(settle(1))
            else:
                await store.ledger.settle(settle(1))
            assert file.exists() == (not age_s)


def _unheard(swept: Swept) -> None:
    raise AssertionError


async def test_an_end_that_nobody_knows_of_and_no_disk_keeps_is_asked_for_once_more(
    line: Line, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 300_000_000)

    def told(size: int, wait_s: float) -> None:
        if line.cuts:
            line.up()  # as soon as the settle has been told that nobody knows

    nowhere = database / "folder" / "spool"
    nowhere.parent.mkdir()
    async with opening(database, node="beside") as beside, through(line, spool=nowhere, observe=told) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        line.sever()
        nowhere.parent.rmdir()
        line.cut, line.stays_down = AFTER, True
        await store.ledger.settle(settle(1))

        assert line.cuts == 1
        assert await funds(beside) == (9_850_000, 0)


async def test_an_end_that_no_disk_keeps_is_refused_while_the_database_is_away(
    line: Line, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 300_000_000)
    nowhere = database / "folder" / "spool"
    nowhere.parent.mkdir()
    async with through(line, spool=nowhere) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        line.sever()
        nowhere.parent.rmdir()
        line.cut, line.stays_down = AFTER, True
        with pytest.raises(NotReady) as refusal:
            await store.ledger.settle(settle(1))
        assert refusal.value.unknown and line.cuts == 1
        with pytest.raises(NotReady) as refusal:
            await store.ledger.settle(settle(1))
        assert not refusal.value.unknown
