"""The queue: a request is claimed by one, ends once with its charge and result, and goes back when its runner is gone.

Method: the store's own verbs on both databases; a second life of the same node stands for one that died.
"""

import asyncio
from pathlib import Path

import pytest

from faregate.core.batch import BatchState, RequestState
from faregate.core.batch_commands import Again
from faregate.core.ledger import Basis, Loss, State
from faregate.core.money import Nanos
from faregate.store import batches
from faregate.store.store import Store
from faregate.wire.usage import Usage
from tests.store.batched import BATCH, HELD, claimed, errored, make, succeeded
from tests.store.books import NOW, WALLET, fund, funds, key, opening

OPENING = 100_000_000


@pytest.fixture
async def made(store: Store) -> Store:
    await fund(store, OPENING)
    await make(store, 3)
    return store


async def test_of_many_who_claim_each_request_goes_to_one(made: Store) -> None:
    tickets = await asyncio.gather(*(made.batches.claim(WALLET, BATCH, NOW) for _ in range(9)))

    assert sorted(ticket.number for ticket in tickets if ticket is not None) == [0, 1, 2]
    assert await funds(made) == (OPENING, 3 * HELD)


async def test_a_request_ends_once_with_charge_result_and_counts(made: Store) -> None:
    ticket = await claimed(made)
    assert await made.batches.end(succeeded(ticket))
    assert not await made.batches.end(succeeded(ticket)), "the second time changes nothing"
    assert not await made.batches.end(errored(ticket))
    assert not await made.batches.put_back(again(ticket))
    await made.batches.end(errored(await claimed(made)))
    ended = await made.batches.find(WALLET, BATCH)

    assert ended is not None
    assert (ended.state, ended.succeeded, ended.errored) == (BatchState.IN_PROGRESS, 1, 1)
    assert await funds(made) == (OPENING - 75_000, HELD)
    assert [row[1:] for row in await made.batches.results(WALLET, BATCH, after=-1, limit=2)] == [
        ("r0", RequestState.SUCCEEDED, b'{"id":"m"}'),
        ("r1", RequestState.ERRORED, b"{}"),
    ]
    await made.batches.end(succeeded(await claimed(made)))
    over = await made.batches.find(WALLET, BATCH)
    assert over is not None and (over.state, over.ended_at_ms) == (BatchState.ENDED, NOW + 500)
    assert await made.batches.waiting(NOW) == []


async def test_an_odd_sum_is_halved_once_and_rounded_down(made: Store) -> None:
    ticket = await claimed(made)
    usage = Usage(input=1, cache_write_5m=1)  # 1,000 + 1,250 = 2,250: half is 1,125
    await made.batches.end(succeeded(ticket, usage=usage, charged=Nanos(1_125)))

    receipt = await made.records.receipt(WALLET, ticket.charge_id)
    assert receipt is not None and receipt.tier == "batch" and receipt.state is State.SETTLED
    assert await funds(made) == (OPENING - 1_125, 2 * HELD)


def again(ticket: object, **fields: int) -> Again:
    plain = {"again_at_ms": NOW + 100, "tries": 1, "crashes": 0, "wasted": Nanos(7)}
    return Again(ticket=ticket, **(plain | fields))  # type: ignore[arg-type]


async def test_what_is_put_back_waits_its_time_and_keeps_what_it_cost(made: Store) -> None:
    ticket = await claimed(made)
    assert await made.batches.put_back(again(ticket))
    assert [(await claimed(made)).number for _ in range(2)] == [1, 2]
    assert await made.batches.claim(WALLET, BATCH, NOW + 99) is None
    back = await claimed(made, NOW + 100)

    assert (back.number, back.tries, back.wasted) == (0, 1, 7)
    await made.batches.end(succeeded(back, loss=Loss.ERROR, loss_amount=back.wasted))
    assert (await made.office.operator_accounts())["error_loss"] == -7
    assert await funds(made) == (OPENING - 75_000, 2 * HELD)


async def test_what_a_dead_life_had_claimed_is_taken_back_by_the_next_and_its_end_comes_too_late(folder: Path) -> None:
    async with opening(folder) as first:
        await fund(first, OPENING)
        await make(first, 2)
        ticket = await claimed(first)
    async with opening(folder) as second:
        assert second.swept.charges == 0, "a batch's charge is no node's"
        await second.batches.tidy(NOW)
        assert not await second.batches.end(succeeded(ticket)), "whoever had claimed it has lost it"
        _, back = await claimed(second), await claimed(second)  # Behind what has not been tried.

        assert (back.number, back.crashes, back.wasted) == (0, 1, 2 * ticket.estimated)
        assert await second.batches.end(succeeded(back, basis=Basis.UPSTREAM))
        assert await funds(second) == (OPENING - 75_000, HELD)


async def test_what_this_life_has_claimed_is_left_alone(made: Store) -> None:
    ticket = await claimed(made)
    await made.batches.tidy(NOW)

    assert await made.batches.end(succeeded(ticket))


async def test_a_canceled_batch_closes_what_waits_and_leaves_what_runs(made: Store) -> None:
    ticket = await claimed(made)
    await made.batches.cancel(WALLET, BATCH, NOW + 5)
    await made.batches.cancel(WALLET, BATCH, NOW + 6)
    assert await made.batches.claim(WALLET, BATCH, NOW) is None
    await made.batches.tidy(NOW)
    found = await made.batches.find(WALLET, BATCH)

    assert found is not None and (found.state, found.canceled) == (BatchState.CANCELING, 2)
    assert found.cancel_at_ms == NOW + 5
    assert await funds(made) == (OPENING, HELD)
    await made.batches.end(succeeded(ticket))
    over = await made.batches.find(WALLET, BATCH)
    assert over is not None and over.state is BatchState.ENDED
    assert await funds(made) == (OPENING - 75_000, 0)


async def test_what_is_over_does_not_begin_and_is_closed_in_steps(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "STEP", 2)
    assert await made.batches.claim(WALLET, BATCH, NOW + 1_000) is None
    await made.batches.tidy(NOW + 1_000)
    found = await made.batches.find(WALLET, BATCH)

    assert found is not None and (found.state, found.expired) == (BatchState.ENDED, 3)
    assert await funds(made) == (OPENING, 0)


async def test_only_what_has_ended_is_deleted_and_then_its_rows_go(made: Store, folder: Path) -> None:
    assert not await made.batches.delete(WALLET, BATCH, NOW)
    await made.batches.cancel(WALLET, BATCH, NOW)
    await made.batches.tidy(NOW)
    assert await made.batches.delete(WALLET, BATCH, NOW)
    assert not await made.batches.delete(WALLET, BATCH, NOW)
    await made.batches.forget(NOW)

    assert await made.batches.find(WALLET, BATCH) is None
    assert await made.batches.results(WALLET, BATCH, after=-1, limit=9) == []
    assert await funds(made) == (OPENING, 0)


async def test_of_what_waits_only_that_is_listed_which_may_run_now_and_no_wallet_fills_the_list(
    made: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "OPEN_MAX", 2)
    await made.office.wallet_create(wallet_id="wal_2", name="other", floor=Nanos(0), at_ms=NOW)
    await made.office.topup("wal_2", Nanos(OPENING), note=None, reference="second", at_ms=NOW)
    await made.office.key_create(key(id="key_2", wallet_id="wal_2"), secret="sk-fare-two")
    second, third, others = (f"{BATCH[:-1]}{number}" for number in (1, 2, 3))
    for batch in (second, third):
        await make(made, 1, id=batch)
    await make(made, 1, id=others, wallet_id="wal_2", key_id="key_2")
    assert await made.batches.waiting(NOW) == [(WALLET, BATCH), ("wal_2", others)]

    ticket = await claimed(made, batch=second)
    await made.batches.put_back(again(ticket))
    assert (WALLET, second) not in await made.batches.waiting(NOW + 99)
    for _ in range(3):
        await claimed(made)
    assert sorted(await made.batches.waiting(NOW + 99)) == [(WALLET, third), ("wal_2", others)]
    assert await made.batches.waiting(NOW + 1_000) == [], "what is over does not begin"
