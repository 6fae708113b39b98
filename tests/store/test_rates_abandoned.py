"""What hang-ups may cost the operator: counted for each key in the ledger, judged before its next call, for an hour.

Method: the real ledger on a file, asked by two ledgers that share no memory.
"""

from pathlib import Path
from typing import Any

from faregate.core.ledger import Lose, Loss
from faregate.core.limits import ABANDON_MS
from faregate.core.money import NANOS_MAX, Nanos
from faregate.store import rates
from faregate.store.store import Store
from tests.store.books import KEY, NOW, WALLET, fund, message, opening, release, settle
from tests.store.raw import Raw
from tests.store.test_rates import call, refusal, two_ledgers

HOUR_S = ABANDON_MS // 1_000


def gone(number: int, amount: int, **fields: Any) -> Any:
    plain = {"loss": Loss.ABANDON, "loss_amount": Nanos(amount), "at_ms": NOW}
    return release(number, **(plain | fields))


async def test_hang_ups_are_forgiven_up_to_the_budget_and_then_the_key_waits_for_its_hour(store: Store) -> None:
    await fund(store, 100_000_000)
    one, other = two_ledgers(store)
    budget = {"abandon_budget": Nanos(100_000)}
    for number, amount, at_ms in ((1, 60_000, NOW), (2, 39_999, NOW + 5_000), (3, 1, NOW + 10_000)):
        await one.reserve(call(number, **budget, at_ms=at_ms))
        await one.release(gone(number, amount, at_ms=at_ms))
        await one.release(gone(number, amount, at_ms=at_ms))

    error = await refusal(other, call(4, **budget, at_ms=NOW + 10_001))
    assert (error.code, error.retry_after_s, error.should_retry) == ("abandoned", HOUR_S - 10, False)
    assert error.details == {"lost": "100", "budget": "100"}
    await other.reserve(call(5, **budget, at_ms=NOW + ABANDON_MS))
    assert (await store.office.operator_accounts())["abandon_loss"] == -100_000


async def test_the_hour_after_begins_with_its_own_first_loss(store: Store) -> None:
    await fund(store, 100_000_000)
    budget = {"abandon_budget": Nanos(10)}
    await store.ledger.reserve(call(1, **budget))
    await store.ledger.release(gone(1, 50))
    second = NOW + ABANDON_MS + 1_000
    await store.ledger.reserve(call(2, **budget, at_ms=second))
    await store.ledger.release(gone(2, 9, at_ms=second))
    await store.ledger.reserve(call(3, **budget, at_ms=second))
    await store.ledger.release(gone(3, 1, at_ms=second + 7))

    assert (await refusal(store.ledger, call(4, **budget, at_ms=second + ABANDON_MS - 1))).retry_after_s == 1
    await store.ledger.reserve(call(5, **budget, at_ms=second + ABANDON_MS))


async def test_a_loss_that_a_caller_did_not_make_and_a_release_without_one_do_not_count(store: Store) -> None:
    await fund(store, 100_000_000)
    none = {"abandon_budget": Nanos(0)}
    for number, loss in enumerate((Loss.ERROR, Loss.CRASH, Loss.SHORTFALL)):
        await store.ledger.reserve(call(number, **none))
        await store.ledger.release(gone(number, 77, loss=loss))
    await store.ledger.reserve(call(10, **none))
    await store.ledger.release(gone(10, 0))

    await store.ledger.reserve(call(11, **none))
    await store.ledger.settle(settle(11, loss=Loss.ABANDON, loss_amount=Nanos(1), at_ms=NOW))
    assert (await refusal(store.ledger, call(12, **none))).code == "abandoned"


async def test_a_loss_that_turns_out_after_the_end_counts_once(store: Store) -> None:
    await fund(store, 100_000_000)
    budget = {"abandon_budget": Nanos(100)}
    late = Lose(charge_id=message(1), wallet_id=WALLET, key_id=KEY, loss=Loss.ABANDON, loss_amount=Nanos(60), at_ms=NOW)
    await store.ledger.reserve(call(1, **budget))
    await store.ledger.release(release(1))
    for _ in range(3):
        await store.ledger.lose(late)
    await store.ledger.reserve(call(2, **budget))
    await store.ledger.release(gone(2, 40))
    assert (await refusal(store.ledger, call(3, **budget))).details["lost"] == "0.1"


async def test_without_a_budget_nobody_is_refused_and_one_that_is_set_later_knows_what_was_lost(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 100_000_000)
        await store.ledger.reserve(call(1))
        await store.ledger.release(gone(1, 10**12))
        await store.ledger.reserve(call(2))
        await store.ledger.release(release(2))
    async with opening(folder) as store:
        await store.ledger.reserve(call(3))
        assert (await refusal(store.ledger, call(4, abandon_budget=Nanos(10**12)))).code == "abandoned"
        await store.ledger.reserve(call(5, abandon_budget=Nanos(10**12 + 1)))


def test_losses_beyond_all_sense_do_not_keep_a_call_from_its_end(raw: Raw) -> None:
    for number in range(3):
        rates.abandon(raw.connection, gone(number, 2**62))
    assert raw.one("SELECT lost FROM abandoned") == NANOS_MAX


def test_a_loss_that_is_told_late_counts_in_the_window_that_is_open(raw: Raw) -> None:
    for number, at_ms in enumerate((NOW, NOW - 60_000, NOW + ABANDON_MS - 1)):
        rates.abandon(raw.connection, gone(number, 5, at_ms=at_ms))
    assert (raw.one("SELECT lost FROM abandoned"), raw.one("SELECT since FROM abandoned")) == (15, NOW)
