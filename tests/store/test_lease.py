"""The lease: who is dead is ended, once and late enough; who lives is left alone; who was taken for dead steps back.

Method: an owner that took holds and is gone, a watcher whose clock is handed in, and the database's own clock, which is
moved by hand: a node's last renewal is written anew.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faregate.core.errors import Internal, NotReady
from faregate.core.ledger import Outcome, State
from faregate.core.money import Nanos
from faregate.store import lease as leases
from faregate.store import nodes
from faregate.store.committer import Nobody
from faregate.store.lease import GRACE_S, LEASE_S, RENEW_S, SETTLED_IN_S, Lease
from faregate.store.store import Store
from faregate.store.sweep import Swept
from tests.store.books import NOW, WALLET, fund, funds, message, opening, place, reserve, settle
from tests.store.raw import PostgresRaw, raw_on

DEAD = "UPDATE node SET seen_at = 0 WHERE name = 'owner'"


class Watch:
    """A node that watches, on a store that renews nothing by itself."""

    def __init__(self, store: Store, raw: PostgresRaw) -> None:
        self.store = store
        self.raw = raw
        self.told: list[Swept] = []
        nodes.begin(raw.connection, "watcher", 0)
        self.lease = Lease(
            store.ledger._writer,
            store.office._readers,
            node="watcher",
            incarnation=1,
            now_ms=lambda: NOW + 99,
            swept=self.told.append,
        )

    async def steps(self, *times: int) -> None:
        for now in times:
            await self.lease.step(now)

    async def states(self, *numbers: int) -> list[State]:
        found = [await self.store.records.receipt(WALLET, message(number)) for number in numbers]
        return [receipt.state for receipt in found if receipt is not None]


@pytest.fixture
async def watch(database: Path) -> AsyncIterator[Watch]:
    """Two calls were open when their owner went."""
    async with opening(database, node="owner") as owner:
        await fund(owner, 10_000_000)
        for number in (1, 2):
            await owner.ledger.reserve(reserve(number))
        owner.ledger.streaming(message(2), WALLET, NOW)
    raw = raw_on(place(database))
    assert isinstance(raw, PostgresRaw)
    async with opening(database, serves=False) as store:
        yield Watch(store, raw)
    raw.close()


STEADY = (0, RENEW_S, 2 * RENEW_S)
FIRST_SWEEP = 3 * RENEW_S


def test_a_dead_nodes_holds_return_within_a_minute() -> None:
    assert LEASE_S + RENEW_S + GRACE_S + 2 * RENEW_S < 60
    assert 2 * RENEW_S < SETTLED_IN_S <= FIRST_SWEEP < LEASE_S


async def test_a_lease_is_renewed_by_the_databases_clock(watch: Watch) -> None:
    now = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint"
    before = watch.raw.one(now)
    await watch.steps(0)
    seen = watch.raw.one("SELECT seen_at FROM node WHERE name = 'watcher'")

    assert before <= seen <= watch.raw.one(now)


async def test_the_calls_of_a_dead_node_are_orphaned_and_then_given_back_at_the_operators_cost(watch: Watch) -> None:
    watch.raw.do(DEAD)
    await watch.steps(*STEADY)
    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]
    await watch.steps(FIRST_SWEEP)
    assert await watch.states(1, 2) == [State.ORPHANED] * 2
    await watch.steps(FIRST_SWEEP + GRACE_S - 1)
    assert await watch.states(1, 2) == [State.ORPHANED] * 2 and watch.told == []
    await watch.steps(FIRST_SWEEP + GRACE_S)

    assert await watch.states(1, 2) == [State.RELEASED] * 2
    assert watch.told == [Swept(2, Nanos(400_000))]
    receipt = await watch.store.records.receipt(WALLET, message(1))
    assert receipt is not None
    assert (receipt.outcome, receipt.charged, receipt.settled_at_ms) == (Outcome.GATEWAY_CRASH, 0, NOW + 99)
    assert (await watch.store.office.operator_accounts())["crash_loss"] == -400_000
    assert await funds(watch.store) == (10_000_000, 0)
    await watch.steps(FIRST_SWEEP + GRACE_S + 5)
    assert len(watch.told) == 1


async def test_a_node_that_renews_is_left_alone(watch: Watch) -> None:
    for now in range(0, 120, RENEW_S):
        ago = LEASE_S * 1_000 - 5_000
        watch.raw.do(f"UPDATE node SET seen_at = (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint - {ago} "
                     "WHERE name = 'owner'")  # fmt: skip
        await watch.steps(now)

    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE node SET incarnation = 2, seen_at = (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint + 60000 "
        "WHERE name = 'owner'",
        "DELETE FROM node WHERE name = 'owner'",
    ],
)
async def test_a_node_that_began_anew_or_is_unknown_has_died_before(watch: Watch, change: str) -> None:
    watch.raw.do(change)
    await watch.steps(*STEADY, FIRST_SWEEP)

    assert await watch.states(1, 2) == [State.ORPHANED] * 2


async def test_a_late_owner_settles_an_orphan_and_it_is_not_given_back(watch: Watch) -> None:
    watch.raw.do(DEAD)
    await watch.steps(*STEADY, FIRST_SWEEP)
    await watch.store.ledger.settle(settle(1))
    await watch.steps(FIRST_SWEEP + GRACE_S)

    assert await watch.states(1, 2) == [State.SETTLED, State.RELEASED]
    assert watch.told == [Swept(1, Nanos(200_000))]
    assert await funds(watch.store) == (9_850_000, 0)


async def test_an_owner_who_comes_after_that_is_refused_and_its_caller_sees_no_end(watch: Watch) -> None:
    watch.raw.do(DEAD)
    await watch.steps(*STEADY, FIRST_SWEEP, FIRST_SWEEP + GRACE_S)

    with pytest.raises(Internal, match="You were not billed"):
        await watch.store.ledger.settle(settle(1))
    assert await funds(watch.store) == (10_000_000, 0)


async def test_an_orphan_that_another_watcher_made_waits_its_time_here_too(watch: Watch) -> None:
    watch.raw.do(DEAD, "UPDATE charge SET state = 'orphaned'")
    await watch.steps(*STEADY, FIRST_SWEEP)
    assert await watch.states(1, 2) == [State.ORPHANED] * 2
    await watch.steps(FIRST_SWEEP + GRACE_S)

    assert await watch.states(1, 2) == [State.RELEASED] * 2


async def test_nobody_sweeps_right_after_an_outage(watch: Watch) -> None:
    await watch.steps(*STEADY, FIRST_SWEEP)
    watch.raw.do(DEAD)
    back = FIRST_SWEEP + 2 * RENEW_S + 1
    await watch.steps(back, back + RENEW_S, back + 2 * RENEW_S)
    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]
    await watch.steps(back + 3 * RENEW_S)

    assert await watch.states(1, 2) == [State.ORPHANED] * 2


async def test_a_renewal_that_fails_is_an_outage(watch: Watch) -> None:
    await watch.steps(*STEADY)
    writer, watch.lease._writer = watch.lease._writer, Nobody()
    keeping = asyncio.create_task(watch.lease.keep())
    await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])
    watch.lease._writer = writer
    watch.raw.do(DEAD)
    await watch.steps(FIRST_SWEEP)

    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]


async def test_a_node_whose_sweep_is_refused_renews_all_the_same(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SETTLED_IN_S", 0)
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    watch.raw.do(
        DEAD,
        "CREATE TRIGGER stuck BEFORE UPDATE OF state ON charge FOR EACH ROW EXECUTE FUNCTION refuse('not today')",
    )
    keeping = asyncio.create_task(watch.lease.keep())
    for _ in range(3):
        watch.raw.do("UPDATE node SET seen_at = 0 WHERE name = 'watcher'")
        async with asyncio.timeout(30):
            while watch.raw.one("SELECT seen_at FROM node WHERE name = 'watcher'") == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.wait([keeping])

    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]


async def test_a_node_whose_name_was_taken_takes_no_more_holds(database: Path) -> None:
    async with opening(database, node="owner") as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        raw = raw_on(place(database))
        raw.do("UPDATE node SET incarnation = incarnation + 1 WHERE name = 'owner'")
        raw.close()
        assert store.ledger._lease is not None
        await store.ledger._lease.step(0)

        with pytest.raises(NotReady) as refusal:
            await store.ledger.reserve(reserve(2))
        assert refusal.value.code == "database_unavailable"
        assert not await store.records.writable()
        await store.ledger.settle(settle(1))  # what was taken is ended as ever
        assert await funds(store) == (9_850_000, 0)
