"""The ledger's port: what is awaited is durable, a note costs nobody a wait, and a caller who leaves harms nothing."""

import asyncio
from pathlib import Path

import pytest

from faregate.core.ledger import State
from faregate.store import committer
from faregate.store.port import Keys, Ledger, Office, Prices, Records
from faregate.store.store import Store
from tests.store.books import KEY, NOW, SECRET, WALLET, fund, funds, message, opening, release, reserve, settle


async def state(store: Store, number: int) -> State:
    receipt = await store.records.receipt(WALLET, message(number))
    assert receipt is not None
    return receipt.state


def test_a_store_is_what_the_floors_above_were_promised(store: Store) -> None:
    ledger: Ledger = store.ledger
    keys: Keys = store.keys
    prices: Prices = store.prices
    records: Records = store.records
    office: Office = store.office

    assert all((ledger, keys, prices, records, office))


async def test_streaming_is_noted_without_a_wait(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1))
    store.ledger.streaming(message(1), WALLET, NOW)

    async with asyncio.timeout(30):
        while await state(store, 1) is not State.STREAMING:  # noqa: ASYNC110 - the file is all that tells
            await asyncio.sleep(0.01)
    await store.ledger.settle(settle(1))
    assert await state(store, 1) is State.SETTLED


async def test_a_note_is_spared_when_its_call_ends_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "NOTE_WAIT_S", 60)
    sizes: list[int] = []
    async with opening(tmp_path, observe=lambda size, wait_s: sizes.append(size)) as store:
        await fund(store, 10_000_000)
        for number, end in ((1, store.ledger.settle(settle(1))), (2, store.ledger.release(release(2)))):
            await store.ledger.reserve(reserve(number))
            store.ledger.streaming(message(number), WALLET, NOW)
            await end

    assert sizes == [1] * len(sizes)


async def test_a_note_that_comes_late_or_for_nobody_changes_nothing(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1))
    store.ledger.streaming(message(1), WALLET, NOW)
    store.ledger.streaming("msg_nobody", WALLET, NOW)
    await store.ledger.reserve(reserve(2))  # the notes have gone with it

    assert await state(store, 1) is State.SETTLED
    assert await funds(store) == (9_850_000, 600_000)


async def test_a_caller_who_leaves_while_it_is_taken_can_release_it_behind(store: Store) -> None:
    await fund(store, 10_000_000)
    leaving = [asyncio.ensure_future(store.ledger.reserve(reserve(number))) for number in range(20)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await asyncio.gather(*(store.ledger.release(release(number)) for number in range(20)))

    assert await funds(store) == (10_000_000, 0)


async def test_a_settle_is_carried_out_although_its_caller_left(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1))
        leaving = asyncio.ensure_future(store.ledger.settle(settle(1)))
        await asyncio.sleep(0)
        leaving.cancel()
    async with opening(folder) as store:
        assert store.swept.charges == 0
        assert await funds(store) == (9_850_000, 0)


async def test_limits_are_paid_whether_the_key_is_at_hand_or_not(store: Store) -> None:
    await fund(store, 10_000_000, quota=1_000_000)
    for number in (1, 2):
        await store.ledger.reserve(reserve(number))
        await store.ledger.settle(settle(number))
        await store.keys.find(SECRET)

    assert await store.records.spent(await store.office.key_find(KEY), NOW) == {"quota": 700_000}


async def test_a_key_without_limits_pays_none(store: Store) -> None:
    await fund(store, 10_000_000)
    for number in (1, 2):
        await store.ledger.reserve(reserve(number))
        await store.ledger.settle(settle(number))
        await store.keys.find(SECRET)

    assert await funds(store) == (9_700_000, 0)
    assert (await store.office.operator_accounts())["limits"] == 0


async def test_many_callers_at_once_leave_right_books(store: Store) -> None:
    await fund(store, 1_000_000_000)

    async def call(number: int) -> None:
        await store.ledger.reserve(reserve(number))
        store.ledger.streaming(message(number), WALLET, NOW)
        await (store.ledger.release(release(number)) if number % 3 == 0 else store.ledger.settle(settle(number)))

    await asyncio.gather(*(call(number) for number in range(600)))

    assert await funds(store) == (1_000_000_000 - 400 * 150_000, 0)
