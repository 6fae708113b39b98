"""The operator's verbs, end to end: wallets, money in and out, and the accounts behind them."""

import asyncio

import pytest

from faregate.core.errors import Conflict, InvalidRequest, NotFound, PaymentRequired
from faregate.core.ledger import OPERATOR_ACCOUNTS
from faregate.core.money import NANOS_MAX, Nanos
from faregate.store.store import Store
from tests.store.books import NOW, WALLET, fund, funds, reserve


async def test_a_wallet_is_found_by_id_and_by_name(store: Store) -> None:
    made = await store.office.wallet_create(wallet_id="wal_9", name="team red", floor=Nanos(-5), at_ms=NOW)

    assert (made.posted, made.held, made.floor, made.created_at_ms) == (0, 0, -5, NOW)
    assert await store.office.wallet_find("wal_9") == made
    assert await store.office.wallet_find("team red") == made
    assert await store.office.wallets() == [made]


@pytest.mark.parametrize("name", ["team", "wal_9"])
async def test_a_wallets_name_is_nobody_elses_name_nor_id(store: Store, name: str) -> None:
    await store.office.wallet_create(wallet_id="wal_9", name="team", floor=Nanos(0), at_ms=NOW)

    with pytest.raises(Conflict, match=name):
        await store.office.wallet_create(wallet_id="wal_8", name=name, floor=Nanos(0), at_ms=NOW)


async def test_a_wallets_id_is_its_own(store: Store) -> None:
    await store.office.wallet_create(wallet_id="wal_9", name="team", floor=Nanos(0), at_ms=NOW)

    with pytest.raises(Conflict, match="wal_9"):
        await store.office.wallet_create(wallet_id="wal_9", name="other", floor=Nanos(0), at_ms=NOW)


async def test_a_wallet_that_cannot_be_is_refused(store: Store) -> None:
    for name in ("", " team", "team "):
        with pytest.raises(InvalidRequest, match="name"):
            await store.office.wallet_create(wallet_id="wal_9", name=name, floor=Nanos(0), at_ms=NOW)
    with pytest.raises(InvalidRequest, match="floor"):
        await store.office.wallet_create(wallet_id="wal_9", name="team", floor=Nanos(1), at_ms=NOW)
    assert await store.office.wallets() == []


async def test_the_operators_own_accounts_are_no_wallets(store: Store) -> None:
    for name in OPERATOR_ACCOUNTS:
        with pytest.raises(NotFound):
            await store.office.wallet_find(name)


async def test_a_topup_moves_money_once_for_its_reference(store: Store) -> None:
    await fund(store, 0)
    first = await store.office.topup("main", Nanos(500), note="from Ann", reference="r1", at_ms=NOW)
    again = await store.office.topup(WALLET, Nanos(500), note="another note", reference="r1", at_ms=NOW + 5)

    assert first == again
    assert (first.reference, first.kind, first.debit_id, first.credit_id, first.memo) == (
        "r1",
        "topup",
        "world",
        WALLET,
        "from Ann",
    )
    assert await funds(store) == (500, 0)


async def test_fifty_of_one_topup_at_once_are_one(store: Store) -> None:
    await fund(store, 0)
    made = await asyncio.gather(
        *(store.office.topup(WALLET, Nanos(5), note=None, reference="r", at_ms=NOW) for _ in range(50))
    )

    assert len({transfer.id for transfer in made}) == 1
    assert await funds(store) == (5, 0)


async def test_a_reference_is_not_reused_for_something_else(store: Store) -> None:
    await fund(store, 500)
    await store.office.wallet_create(wallet_id="wal_2", name="other", floor=Nanos(0), at_ms=NOW)

    with pytest.raises(Conflict, match=r"first was used before, for topup of 0\.5 credits"):
        await store.office.topup(WALLET, Nanos(501), note=None, reference="first", at_ms=NOW)
    with pytest.raises(Conflict):
        await store.office.topup("other", Nanos(500), note=None, reference="first", at_ms=NOW)
    with pytest.raises(Conflict):
        await store.office.adjust(WALLET, Nanos(500), note="n", reference="first", at_ms=NOW)
    assert await funds(store) == (500, 0)


async def test_an_adjustment_goes_up_and_down(store: Store) -> None:
    await fund(store, 500)
    await store.office.adjust(WALLET, Nanos(70), note="goodwill", reference="up", at_ms=NOW)
    down = await store.office.adjust(WALLET, Nanos(-20), note="mistake", reference="down", at_ms=NOW)
    assert await store.office.adjust(WALLET, Nanos(-20), note="mistake", reference="down", at_ms=NOW) == down

    assert (down.debit_id, down.credit_id, down.amount) == (WALLET, "world", 20)
    assert await funds(store) == (550, 0)
    with pytest.raises(Conflict):
        await store.office.adjust(WALLET, Nanos(20), note="mistake", reference="down", at_ms=NOW)


async def test_an_adjustment_never_goes_below_the_floor_nor_into_what_is_held(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))

    with pytest.raises(PaymentRequired, match=r"400 can be taken out") as refused:
        await store.office.adjust(WALLET, Nanos(-400_001), note="n", reference="r", at_ms=NOW)
    assert refused.value.details == {"required": "400.001", "available": "400"}
    await store.office.adjust(WALLET, Nanos(-400_000), note="n", reference="r", at_ms=NOW)
    assert await funds(store) == (600_000, 600_000)


@pytest.mark.parametrize("amount", [0, -5, NANOS_MAX + 1])
async def test_an_amount_that_is_no_topup_is_refused(store: Store, amount: int) -> None:
    await fund(store, 0)
    with pytest.raises(InvalidRequest, match="amount"):
        await store.office.topup(WALLET, Nanos(amount), note=None, reference="r", at_ms=NOW)


async def test_a_wallet_is_never_so_full_that_sums_overflow(store: Store) -> None:
    await fund(store, 5)
    with pytest.raises(InvalidRequest, match="at most"):
        await store.office.topup(WALLET, Nanos(NANOS_MAX - 4), note=None, reference="r", at_ms=NOW)
    await store.office.topup(WALLET, Nanos(NANOS_MAX - 5), note=None, reference="r", at_ms=NOW)
    assert await funds(store) == (NANOS_MAX, 0)


async def test_a_movement_needs_an_amount_a_reference_and_a_wallet(store: Store) -> None:
    await fund(store, 5)
    with pytest.raises(InvalidRequest, match="amount"):
        await store.office.adjust(WALLET, Nanos(0), note="n", reference="r", at_ms=NOW)
    with pytest.raises(InvalidRequest, match="reference"):
        await store.office.topup(WALLET, Nanos(1), note=None, reference="", at_ms=NOW)
    with pytest.raises(NotFound, match="no wallet nobody"):
        await store.office.topup("nobody", Nanos(1), note=None, reference="r", at_ms=NOW)


async def test_transfers_are_newest_first_and_the_wallets_own(store: Store) -> None:
    await fund(store, 500, quota=Nanos(5))
    await store.office.topup(WALLET, Nanos(1), note=None, reference="second", at_ms=NOW)

    found = await store.office.transfers("main", limit=9)
    assert [transfer.reference for transfer in found] == ["second", "first"]
    assert await store.office.transfers(WALLET, limit=1) == found[:1]
    with pytest.raises(NotFound):
        await store.office.transfers("nobody", limit=1)


async def test_the_operators_accounts_are_sums_that_mirror_the_wallets(store: Store) -> None:
    assert await store.office.operator_accounts() == dict.fromkeys(map(str, OPERATOR_ACCOUNTS), 0)
    await fund(store, 500)

    assert (await store.office.operator_accounts())["world"] == -500
