"""The lease: who is dead is ended, once and late enough; who lives is left alone; who was taken for dead steps back.

Method: an owner that took holds and is gone, a watcher whose clock is handed in, and the database's own clock, which is
moved by hand: a node's last renewal is written anew.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faregate.core.errors import Internal, NotReady
from faregate.core.ledger import Outcome, State
from faregate.core.money import Nanos
from faregate.store import nodes
from faregate.store.lease import GRACE_S, LEASE_S, RENEW_S, SETTLED_IN_S
from faregate.store.sweep import Swept
from tests.store.books import NOW, WALLET, fund, funds, message, opening, place, reserve, settle
from tests.store.line import Line
from tests.store.raw import raw_on
from tests.store.watch import DEAD, FIRST_SWEEP, STEADY, Watch, watching


@pytest.fixture
async def watch(database: Path) -> AsyncIterator[Watch]:
    async with watching(database) as watch:
        yield watch


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


async def test_a_batchs_charge_is_no_nodes_and_is_left_to_its_batch(watch: Watch) -> None:
    watch.raw.do(DEAD, "INSERT INTO charge(wallet_id, id, key_id, request_id, body_sha256, model, price_id, held, "
                       "estimated, node, incarnation, created_at, tier) SELECT wallet_id, 'b', key_id, request_id, "
                       "body_sha256, model, price_id, 0, 0, 'dead', 1, 0, 'batch' FROM charge LIMIT 1")  # fmt: skip
    await watch.steps(*STEADY, FIRST_SWEEP, FIRST_SWEEP + GRACE_S)

    assert watch.raw.one("SELECT state FROM charge WHERE id = 'b'") == State.RESERVED
    assert watch.told == [Swept(2, Nanos(400_000))]


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


async def test_what_has_ended_is_not_looked_at_again(watch: Watch) -> None:
    watch.raw.do(DEAD)
    await watch.store.ledger.settle(settle(1))
    await watch.steps(*STEADY, FIRST_SWEEP)

    assert set(watch.lease._orphaned) == {message(2)}


async def test_a_charge_that_could_not_be_orphaned_yet_is_not_given_back_at_once(watch: Watch) -> None:
    watch.raw.do(
        DEAD,
        "CREATE TRIGGER stuck BEFORE UPDATE OF state ON charge FOR EACH ROW EXECUTE FUNCTION refuse('not today')",
    )
    with pytest.raises(Internal):
        await watch.steps(*STEADY, FIRST_SWEEP)
    watch.raw.do("DROP TRIGGER stuck ON charge")
    await watch.steps(FIRST_SWEEP + GRACE_S)

    assert await watch.states(1, 2) == [State.ORPHANED] * 2


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


async def test_a_renewal_that_fails_is_an_outage(watch: Watch, line: Line) -> None:
    watch.lease = watch.lease_of("watcher", url=line.url)
    await watch.steps(*STEADY)
    line.down()
    with pytest.raises(NotReady):
        await watch.lease.renew()
    line.up()
    watch.raw.do(DEAD)
    await watch.steps(FIRST_SWEEP)

    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]


async def test_a_look_that_lasted_longer_than_a_renewal_is_fresh_is_not_believed(watch: Watch) -> None:
    watch.raw.do(DEAD)
    watch.look_s = 2 * RENEW_S
    await watch.steps(*STEADY, FIRST_SWEEP)
    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]
    watch.look_s = RENEW_S - 1
    await watch.steps(FIRST_SWEEP + RENEW_S)

    assert await watch.states(1, 2) == [State.ORPHANED] * 2


async def test_a_node_never_judges_itself_but_its_own_earlier_life(watch: Watch) -> None:
    watch.lease = watch.lease_of("owner")
    await watch.steps(*STEADY)
    watch.now = FIRST_SWEEP
    await watch.lease.renew()
    watch.raw.do(DEAD)
    await watch.lease.sweep()
    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]
    nodes.begin(watch.raw.connection, "owner", 0)
    watch.lease = watch.lease_of("owner", 2)
    await watch.steps(*STEADY, FIRST_SWEEP)

    assert await watch.states(1, 2) == [State.ORPHANED] * 2


async def test_a_node_whose_name_was_taken_judges_nobody(watch: Watch) -> None:
    await watch.steps(*STEADY, FIRST_SWEEP)
    nodes.begin(watch.raw.connection, "watcher", 0)
    watch.raw.do(DEAD)
    await watch.steps(FIRST_SWEEP + RENEW_S)

    assert watch.lease.lost
    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]


async def test_a_node_whose_name_was_taken_takes_no_more_holds(database: Path) -> None:
    async with opening(database, node="owner") as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        raw = raw_on(place(database))
        raw.do("UPDATE node SET incarnation = incarnation + 1 WHERE name = 'owner'")
        raw.close()
        assert store.ledger._lease is not None
        await store.ledger._lease.renew()

        with pytest.raises(NotReady) as refusal:
            await store.ledger.reserve(reserve(2))
        assert refusal.value.code == "database_unavailable"
        assert not await store.records.writable()
        await store.ledger.settle(settle(1))  # what was taken is ended as ever
        assert await funds(store) == (9_850_000, 0)
