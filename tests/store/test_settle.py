"""Ending a charge: money to the nanodollar, once, and every loss under its own name."""

import asyncio

import pytest

from faregate.core.errors import Internal, NotReady
from faregate.core.ledger import Basis, Lose, Loss, Outcome, State
from faregate.core.money import Nanos
from faregate.store.store import Store
from faregate.wire.usage import Usage
from tests.store.books import KEY, NOW, WALLET, fund, funds, message, release, reserve, settle


async def test_a_settle_takes_what_was_used_and_frees_the_rest(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    usage = Usage(input=50, output=20, cache_read=7, cache_write_5m=8, cache_write_1h=9)
    cost = 150_000 + 7 * 100 + 8 * 1_250 + 9 * 2_000
    await store.ledger.settle(settle(1, usage=usage, charged=Nanos(cost)))

    receipt = await store.records.receipt(WALLET, message(1))
    assert receipt is not None
    assert (receipt.state, receipt.outcome, receipt.usage, receipt.basis) == (
        State.SETTLED,
        Outcome.OK,
        usage,
        Basis.UPSTREAM,
    )
    assert (receipt.charged, receipt.shortfall, receipt.max, receipt.attempts) == (cost, 0, 600_000, 1)
    assert await funds(store) == (1_000_000 - cost, 0)
    assert (await store.office.operator_accounts())["revenue"] == cost


async def test_what_a_call_cost_is_paid_once_out_of_each_limit_of_its_key(store: Store) -> None:
    await fund(store, 2_000_000, quota=Nanos(700_000), spend_5h=Nanos(650_000))
    await store.ledger.reserve(reserve(1))
    for _ in range(2):
        await store.ledger.settle(settle(1))

    assert await funds(store) == (1_850_000, 0)
    left = await store.records.spent(await store.office.key_find(KEY), NOW + 1)
    assert left == {"quota": 550_000, "spend_5h": 500_000}


async def test_a_settle_again_changes_nothing_whatever_it_says(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1))
    first = await store.records.receipt(WALLET, message(1))

    await store.ledger.settle(settle(1))
    await store.ledger.settle(settle(1, usage=Usage(input=60, output=20), charged=Nanos(160_000)))
    await store.ledger.release(release(1))

    assert await store.records.receipt(WALLET, message(1)) == first
    assert await funds(store) == (850_000, 0)


async def test_a_release_costs_nothing_and_stands(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.release(release(1))
    with pytest.raises(Internal, match="given back"):  # nobody who is not billed may see the end
        await store.ledger.settle(settle(1))
    await store.ledger.release(release(1))

    receipt = await store.records.receipt(WALLET, message(1))
    assert receipt is not None and (receipt.state, receipt.charged) == (State.RELEASED, 0)
    assert await funds(store) == (1_000_000, 0)


async def test_a_settle_of_nothing_moves_nothing(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1, usage=Usage(), charged=Nanos(0)))

    assert await funds(store) == (1_000_000, 0)
    assert [transfer.kind for transfer in await store.office.transfers(WALLET, limit=9)] == ["topup"]


async def test_what_is_above_the_hold_is_the_operators_shortfall(store: Store) -> None:
    await fund(store, 600_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1, usage=Usage(output=140), charged=Nanos(600_000), shortfall=Nanos(100_000)))

    accounts = await store.office.operator_accounts()
    assert (accounts["revenue"], accounts["shortfall"]) == (700_000, -100_000)
    assert await funds(store) == (0, 0)


@pytest.mark.parametrize("loss", [Loss.ERROR, Loss.ABANDON, Loss.CRASH])
async def test_a_loss_is_booked_under_its_own_name(store: Store, loss: Loss) -> None:
    await fund(store, 2_000_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1, loss=loss, loss_amount=Nanos(77)))
    await store.ledger.reserve(reserve(2))
    await store.ledger.release(release(2, loss=loss, loss_amount=Nanos(33)))
    await store.ledger.release(release(2, loss=loss, loss_amount=Nanos(33)))

    accounts = await store.office.operator_accounts()
    assert (accounts[loss], accounts["revenue"]) == (-110, 150_110)
    assert await funds(store) == (1_850_000, 0)


async def test_a_capture_above_the_hold_is_refused_and_the_charge_stays_open(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    with pytest.raises(Internal):
        await store.ledger.settle(settle(1, usage=Usage(input=600, output=1), charged=Nanos(605_000)))

    assert await funds(store) == (1_000_000, 600_000)
    await store.ledger.settle(settle(1))
    assert await funds(store) == (850_000, 0)


async def test_what_was_never_held_cannot_be_settled(store: Store) -> None:
    await fund(store, 1_000_000)
    with pytest.raises(Internal, match="was never held") as refused:
        await store.ledger.settle(settle(1))
    assert refused.value.details == {"too_late": True}

    await store.ledger.release(release(1))  # but a release is welcome: the reserve it follows may have been refused
    assert await funds(store) == (1_000_000, 0)


def late(number: int, amount: int) -> Lose:
    """A loss that turned out after the end."""
    return Lose(
        charge_id=message(number),
        wallet_id=WALLET,
        key_id=KEY,
        loss=Loss.ABANDON,
        loss_amount=Nanos(amount),
        at_ms=NOW + 5_000,
    )


async def test_a_loss_that_turns_out_after_the_end_is_booked_once_and_changes_nothing_else(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1))
    before, books = await store.records.receipt(WALLET, message(1)), await funds(store)
    for amount in (70_000, 70_000, 99_000):
        await store.ledger.lose(late(1, amount))

    assert (await store.office.operator_accounts())["abandon_loss"] == -70_000
    assert (await store.records.receipt(WALLET, message(1)), await funds(store)) == (before, books)
    assert not any(finding.count for finding in await store.office.audit())


async def test_a_loss_that_its_end_has_booked_stands(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    await store.ledger.release(release(1, loss=Loss.ERROR, loss_amount=Nanos(5)))
    await store.ledger.lose(late(1, 70_000))

    accounts = await store.office.operator_accounts()
    assert (accounts["error_loss"], accounts["abandon_loss"]) == (-5, 0)


async def test_a_loss_before_its_charge_has_ended_is_refused_and_booked_by_itself_when_it_has(store: Store) -> None:
    await fund(store, 1_000_000)
    await store.ledger.reserve(reserve(1))
    with pytest.raises(NotReady):
        await store.ledger.lose(late(1, 70_000))
    assert (await store.office.operator_accounts())["abandon_loss"] == 0
    await store.ledger.release(release(1))
    async with asyncio.timeout(20):
        while (await store.office.operator_accounts())["abandon_loss"] == 0:  # noqa: ASYNC110  # a note has no event
            await asyncio.sleep(0.01)

    assert (await store.office.operator_accounts())["abandon_loss"] == -70_000
    assert not any(finding.count for finding in await store.office.audit())
