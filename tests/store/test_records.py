"""Reading back: pages without gaps or repeats, filters that mean what they say, and what is left of a key's caps."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faregate.core.money import Nanos
from faregate.store import postgres, records
from faregate.store.store import Store
from tests.postgres import URL
from tests.store.books import HOUR, KEY, NOW, SECRET, WALLET, fund, key, message, opening, reserve, settle


async def ids(store: Store, **filters: Any) -> list[str]:
    plain: dict[str, Any] = {
        "key_id": None,
        "model": None,
        "since_ms": None,
        "until_ms": None,
        "before": None,
        "limit": 100,
    }
    return [receipt.id for receipt in (await store.records.usage(WALLET, **(plain | filters))).receipts]


@pytest.fixture
async def busy(store: Store) -> Store:
    """Ten calls: the odd ones with another key, the last three at a model of their own."""
    await fund(store, 100_000_000)
    await store.office.key_create(key(id="key_2"), secret="two")
    for number in range(10):
        more = {"key_id": "key_2"} if number % 2 else {}
        await store.ledger.reserve(reserve(number, **more, model="small" if number < 7 else "large"))
    return store


async def test_pages_are_newest_first_without_gap_or_repeat(busy: Store) -> None:
    found: list[str] = []
    before, pages = None, 0
    while True:
        page = await busy.records.usage(
            WALLET, key_id=None, model=None, since_ms=None, until_ms=None, before=before, limit=3
        )
        found += [receipt.id for receipt in page.receipts]
        before, pages = page.next, pages + 1
        if before is None:
            break

    assert found == [message(number) for number in reversed(range(10))]
    assert pages == 4


async def test_the_last_full_page_has_no_next(busy: Store) -> None:
    page = await busy.records.usage(
        WALLET, key_id=None, model=None, since_ms=None, until_ms=None, before=None, limit=10
    )

    assert len(page.receipts) == 10 and page.next is None


async def test_a_page_is_bounded(busy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PAGE_MAX", 3)
    assert len(await ids(busy, limit=100)) == 3


async def test_filters_narrow_and_combine(busy: Store) -> None:
    assert await ids(busy, key_id="key_2", model="large") == [message(9), message(7)]
    assert await ids(busy, since_ms=NOW + 3, until_ms=NOW + 5) == [message(4), message(3)]
    assert await ids(busy, before=message(2)) == [message(1), message(0)]
    assert await ids(busy, key_id="none") == []
    assert len(await ids(busy, limit=0)) == 1


async def test_a_wallet_sees_its_own_calls_only(busy: Store) -> None:
    await busy.office.wallet_create(wallet_id="wal_2", name="other", floor=Nanos(0), at_ms=NOW)

    assert await busy.records.receipt("wal_2", message(1)) is None
    page = await busy.records.usage(
        "wal_2", key_id=None, model=None, since_ms=None, until_ms=None, before=None, limit=9
    )
    assert (page.receipts, page.next) == ([], None)


async def test_a_receipt_or_wallet_that_is_not_there_is_none(store: Store) -> None:
    assert await store.records.receipt(WALLET, message(1)) is None
    assert await store.records.wallet(WALLET) is None
    assert await store.records.wallet("operator") is None


async def test_a_wallet_is_told_as_it_stands(busy: Store) -> None:
    wallet = await busy.records.wallet(WALLET)

    assert wallet is not None
    assert (wallet.name, wallet.posted, wallet.held, wallet.available) == ("main", 100_000_000, 6_000_000, 94_000_000)


async def test_what_is_left_of_a_keys_caps(store: Store) -> None:
    await fund(store, 100_000_000, quota=Nanos(2_000_000), spend_5h=Nanos(700_000))
    mine = await store.office.key_find(KEY)
    assert await store.records.spent(mine, NOW) == {"quota": 2_000_000, "spend_5h": 700_000}
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1))

    assert await store.records.spent(mine, NOW + 2) == {"quota": 1_850_000, "spend_5h": 550_000}
    assert await store.records.spent(mine, NOW + 6 * HOUR) == {"quota": 1_850_000, "spend_5h": 700_000}
    assert await store.records.spent(key(), NOW) == {}


async def test_writable_is_a_write(store: Store) -> None:
    assert await store.records.writable()


async def test_a_store_that_was_closed_is_not_writable(folder: Path) -> None:
    async with opening(folder) as store:
        closed = store.records
    assert not await closed.writable()


async def test_a_call_does_not_wait_behind_those_who_ask_for_usage(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCK_MS", 60_000)
    async with opening(database) as store:
        await fund(store, 0)
        with psycopg.connect((database / URL).read_text()) as other:
            other.execute("LOCK TABLE charge")
            pages = [asyncio.create_task(ids(store)) for _ in range(20)]
            await asyncio.sleep(0)
            async with asyncio.timeout(30):
                assert await store.keys.find(SECRET) is not None
            other.rollback()
        assert await asyncio.gather(*pages) == [[]] * 20
