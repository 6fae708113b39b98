"""Price versions: appended, never edited, and in force from their day on."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from faregate.core.errors import Conflict, InvalidRequest, NotReady
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.store import prices
from faregate.store.database import StoreRefused
from faregate.store.prices import NOW_MS, Prices
from faregate.store.store import Store
from tests.store.books import NOW, PRICE, opening


def version(**fields: object) -> PriceVersion:
    return msgspec.structs.replace(PRICE, **fields)


LATER = version(id="small@later", valid_from_ms=NOW + 10, input=Nanos(2_000))


async def test_a_later_version_holds_from_its_day_on(store: Store) -> None:
    assert await store.office.price_add(LATER) == LATER

    assert store.prices.price("small", NOW + 9) == PRICE
    assert store.prices.price("small", NOW + 10) == LATER
    assert store.prices.price("none", NOW) is None
    assert store.prices.versions() == [PRICE, LATER]


async def test_a_version_between_two_finds_its_place(store: Store) -> None:
    between = version(id="small@between", valid_from_ms=NOW + 5)
    other = version(id="a@1", model="a", valid_from_ms=NOW)
    for added in (LATER, between, other):
        await store.office.price_add(added)

    assert store.prices.versions() == [other, PRICE, between, LATER]
    assert store.prices.price("small", NOW + 7) == between


async def test_an_added_version_is_there_at_the_next_start(folder: Path) -> None:
    async with opening(folder) as store:
        await store.office.price_add(LATER)
    async with opening(folder, prices=[PRICE, version(id="b@1", model="b")]) as store:
        assert [price.id for price in store.prices.versions()] == ["b@1", PRICE.id, LATER.id]


async def test_a_version_does_not_begin_in_the_past(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="past"):
        await store.office.price_add(version(id="small@past", valid_from_ms=NOW - NOW_MS - 1))
    await store.office.price_add(version(id="small@now", valid_from_ms=NOW - NOW_MS))


async def test_the_same_version_again_is_welcome_and_another_under_its_name_is_not(store: Store) -> None:
    await store.office.price_add(LATER)
    assert await store.office.price_add(LATER) == LATER
    assert await store.office.price_add(PRICE) == PRICE

    for wrong in (
        msgspec.structs.replace(LATER, output=Nanos(1)),
        msgspec.structs.replace(LATER, id="small@other"),
        msgspec.structs.replace(LATER, valid_from_ms=NOW + 11),
    ):
        with pytest.raises(Conflict, match="never edited"):
            await store.office.price_add(wrong)
    assert store.prices.versions() == [PRICE, LATER]


async def test_a_shipped_version_with_the_day_of_another_is_refused(folder: Path) -> None:
    with pytest.raises(StoreRefused, match="never edited"):
        async with opening(folder, prices=[PRICE, version(id="small@twin")]):
            pass


async def test_prices_are_read_anew_before_a_quote_while_nobody_would_tell_us(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Prices(store.ledger._writer, store.office._readers, [PRICE])
    await store.office.price_add(LATER)
    await deaf.current()
    assert deaf.versions() == [PRICE]  # it would have been told
    deaf.trust(False)
    await deaf.current()
    assert deaf.versions() == [PRICE, LATER]

    again = version(id="small@again", valid_from_ms=NOW + 20)
    await store.office.price_add(again)
    monkeypatch.setattr(prices, "FRESH_NS", 10**18)
    await deaf.current()
    assert deaf.versions() == [PRICE, LATER]  # not for every call
    monkeypatch.setattr(prices, "FRESH_NS", 0)
    await deaf.current()
    assert deaf.versions() == [PRICE, LATER, again]


async def test_prices_that_cannot_be_read_anew_quote_nothing(store: Store) -> None:
    deaf = Prices(store.ledger._writer, store.office._readers, [PRICE])
    deaf.trust(False)
    await store.office._readers.close()

    with pytest.raises(NotReady):
        await deaf.current()


async def test_a_list_that_was_read_before_a_newer_one_was_kept_changes_nothing(store: Store) -> None:
    class Slow:
        async def scan(self, read: Any) -> Any:
            found = await store.office._readers.scan(read)
            await slow.add(LATER, now_ms=NOW)
            return found

    slow = Prices(store.ledger._writer, Slow(), [PRICE])  # type: ignore[arg-type]
    await slow.read_anew()

    assert slow.versions() == [PRICE, LATER]
