"""A batch is made whole or not at all: in one step or in many, and whatever stops it in between.

Method: the store's own verbs on both databases, with small steps; the wallet and the rows are looked at afterwards.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faregate.core.errors import Internal, PaymentRequired, RateLimited, Unauthenticated
from faregate.core.money import Nanos
from faregate.store import batch_making, batches
from faregate.store.batch_making import Filling
from faregate.store.store import Store
from tests.store.batched import BATCH, HELD, claimed, make, new, request, succeeded
from tests.store.books import KEY, NOW, WALLET, fund, funds, opening, place
from tests.store.raw import raw_on


def rows(folder: Path) -> tuple[int, int]:
    raw = raw_on(place(folder))
    found = raw.one("SELECT COUNT(*) FROM batch"), raw.one("SELECT COUNT(*) FROM batch_request")
    raw.close()
    return found


@pytest.fixture(params=[64, 2])
def step(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(batches, "STEP", request.param)
    return int(request.param)


@pytest.mark.usefixtures("step")
async def test_all_of_it_is_held_and_what_is_left_is_told(store: Store) -> None:
    await fund(store, 5 * HELD)
    batch = new(5)
    available = await store.batches.make(batch, [request(number) for number in range(5)])

    assert available == 0
    assert await funds(store) == (5 * HELD, 5 * HELD)
    assert await store.batches.waiting(NOW) == [(WALLET, BATCH)]


@pytest.mark.usefixtures("step")
async def test_one_nanodollar_short_of_it_nothing_is_held_and_nothing_is_left(store: Store, folder: Path) -> None:
    await fund(store, 5 * HELD - 1)
    with pytest.raises(PaymentRequired) as refused:
        await make(store, 5)

    assert refused.value.details == {"required": "1500", "available": "1499.999"}
    assert await funds(store) == (5 * HELD - 1, 0)
    assert rows(folder) == (0, 0)


async def test_a_wallet_that_is_spent_meanwhile_gets_back_what_was_held(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "STEP", 2)
    await fund(store, 5 * HELD)
    first = batch_making.fill

    def robbed(connection: Any, command: Filling, owner: Any) -> Nanos:
        if command.requests[0].number == 4:
            raise PaymentRequired("spent meanwhile")
        return first(connection, command, owner)

    monkeypatch.setattr(batch_making, "fill", robbed)
    with pytest.raises(PaymentRequired):
        await make(store, 5)

    assert await funds(store) == (5 * HELD, 0)
    assert rows(folder) == (0, 0)


async def test_one_that_its_maker_leaves_is_undone(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "STEP", 1)
    await fund(store, 100 * HELD)
    making = asyncio.create_task(make(store, 100))
    while (await store.records.wallet(WALLET)).held < 3 * HELD:  # type: ignore[union-attr]  # noqa: ASYNC110
        await asyncio.sleep(0)
    making.cancel()
    await asyncio.wait([making])
    await store.batches.tidy(NOW)

    assert await funds(store) == (100 * HELD, 0)
    assert rows(folder) == (0, 0)


async def test_one_that_died_half_made_is_not_seen_and_undone_at_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "STEP", 2)
    async with opening(folder) as store:
        await fund(store, 9 * HELD)
        await store.batches._write(batch_making.open_batch, new(5), WALLET)
        await store.batches._write(batch_making.fill, Filling(new(5), [request(0), request(1)]), WALLET)
        store.batches._making.add(BATCH)
        await store.batches.tidy(NOW)
        assert await store.batches.find(WALLET, BATCH) is None
        assert await store.batches.waiting(NOW) == []
        assert (await funds(store))[1] == 2 * HELD
    async with opening(folder) as store:
        assert (await funds(store))[1] == 2 * HELD
        await store.batches.tidy(NOW)

        assert await funds(store) == (9 * HELD, 0)
    assert rows(folder) == (0, 0)


async def test_a_wallet_has_so_many_waiting_and_no_more(store: Store) -> None:
    await fund(store, 100 * HELD)
    await make(store, 3)
    with pytest.raises(RateLimited) as refused:
        await make(store, 3, id=BATCH[:-1] + "1", waiting_max=5)

    assert (refused.value.code, refused.value.should_retry) == ("batch_requests", False)
    await make(store, 3, id=BATCH[:-1] + "2", waiting_max=6)


async def test_a_wallet_has_so_many_bytes_waiting_and_no_more(store: Store) -> None:
    await fund(store, 100 * HELD)
    await make(store, 3)  # Of two bytes each.
    with pytest.raises(RateLimited) as refused:
        await make(store, 2, id=BATCH[:-1] + "1", waiting_bytes_max=9)

    assert (refused.value.code, refused.value.should_retry) == ("batch_requests", False)
    await store.batches.end(succeeded(await claimed(store)))
    await make(store, 2, id=BATCH[:-1] + "2", waiting_bytes_max=8)


async def test_a_key_that_is_revoked_makes_none(store: Store) -> None:
    await fund(store, 100 * HELD)
    await store.office.key_revoke(KEY, at_ms=NOW)
    with pytest.raises(Unauthenticated):
        await make(store, 1)
    with pytest.raises(Unauthenticated):
        await make(store, 1, key_id="nobody")


@pytest.mark.parametrize(("cap", "code"), [("quota", "quota_exceeded"), ("spend_1d", "spend_1d")])
async def test_a_keys_own_cap_covers_all_of_it_or_none(store: Store, cap: str, code: str) -> None:
    await fund(store, 100 * HELD, **{cap: Nanos(3 * HELD - 1)})
    with pytest.raises((PaymentRequired, RateLimited)) as refused:
        await make(store, 3)

    assert refused.value.code == code
    assert await funds(store) == (100 * HELD, 0)
    await make(store, 2)
    assert await funds(store) == (100 * HELD, 2 * HELD)


async def test_what_is_being_undone_is_not_begun_by_a_maker_who_lives_after_all(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "STEP", 2)
    await fund(store, 9 * HELD)
    await store.batches._write(batch_making.open_batch, new(3), WALLET)
    await store.batches._write(batch_making.fill, Filling(new(3), [request(number) for number in range(3)]), WALLET)
    undoing = batch_making.Undoing(WALLET, BATCH, NOW, 2)
    assert not await store.batches._writer.submit(batch_making.undo, undoing, wallet_id=WALLET)
    with pytest.raises(Internal):
        await store.batches._write(batch_making.begin, new(3), WALLET)
    await store.batches.tidy(NOW)

    assert await funds(store) == (9 * HELD, 0)
    assert rows(folder) == (0, 0)
