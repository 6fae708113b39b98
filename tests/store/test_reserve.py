"""Taking a hold: what is judged, in which order, and what the refusal tells."""

import asyncio
from typing import Any

import pytest

from faregate.core.errors import InFlight, PaymentRequired, RateLimited, Repeated, Unauthenticated, Unsupported
from faregate.core.ledger import State
from faregate.core.money import Nanos
from faregate.store.store import Store
from tests.store.books import HOUR, KEY, NOW, WALLET, fund, funds, key, message, release, reserve, settle


async def test_a_hold_is_the_ceiling_and_says_what_is_left(store: Store) -> None:
    await fund(store, 1_000_000)
    reserved = await store.ledger.reserve(reserve(1))

    assert (reserved.held, reserved.max_tokens, reserved.available) == (600_000, 100, 400_000)
    assert reserved.quota_available is None
    assert await funds(store) == (1_000_000, 600_000)


async def test_a_call_is_clamped_to_what_the_wallet_affords(store: Store) -> None:
    await fund(store, 354_999)
    reserved = await store.ledger.reserve(reserve(1, min_tokens=50))

    assert (reserved.max_tokens, reserved.held) == (50, 350_000)


async def test_a_call_that_is_not_afforded_is_told_required_available_and_affordable(store: Store) -> None:
    await fund(store, 354_999)
    with pytest.raises(PaymentRequired) as refused:
        await store.ledger.reserve(reserve(1, min_tokens=51))

    assert refused.value.code == "insufficient_credits"
    assert refused.value.details == {"required": "600", "available": "354.999", "affordable_max_tokens": 50}
    assert "600" in refused.value.message and "354.999" in refused.value.message
    assert await funds(store) == (354_999, 0)


async def test_an_input_alone_above_the_wallet_affords_no_token(store: Store) -> None:
    await fund(store, 99_999)
    with pytest.raises(PaymentRequired) as refused:
        await store.ledger.reserve(reserve(1, min_tokens=0))

    assert refused.value.details["affordable_max_tokens"] == 0


async def test_free_output_needs_money_for_its_input_only(store: Store) -> None:
    await fund(store, 100_000)
    free = {"output_price": Nanos(0)}
    with pytest.raises(PaymentRequired) as refused:
        await store.ledger.reserve(reserve(1, **free, input_ceiling=Nanos(100_001)))
    assert refused.value.details["affordable_max_tokens"] == 0

    assert (await store.ledger.reserve(reserve(2, **free))).max_tokens == 100


async def test_a_floor_below_zero_may_be_spent_down_to(store: Store) -> None:
    await store.office.wallet_create(wallet_id="wal_2", name="credit", floor=Nanos(-600_000), at_ms=NOW)
    await store.office.key_create(key(id="key_2", wallet_id="wal_2"), secret="two")
    mine = {"wallet_id": "wal_2", "key_id": "key_2"}

    assert (await store.ledger.reserve(reserve(1, **mine))).available == -600_000
    with pytest.raises(PaymentRequired):
        await store.ledger.reserve(reserve(2, **mine))


async def test_fifty_callers_race_for_money_that_affords_exactly_seven(store: Store) -> None:
    await fund(store, 7 * 600_000 + 599_999)
    answers = await asyncio.gather(
        *(store.ledger.reserve(reserve(number)) for number in range(50)), return_exceptions=True
    )

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 7
    assert all(isinstance(answer, PaymentRequired) for answer in answers if isinstance(answer, BaseException))
    assert await funds(store) == (7 * 600_000 + 599_999, 7 * 600_000)


# The key ----------------------------------------------------------------------------------------------------------


async def test_a_revoked_key_is_refused_from_the_next_call_on(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1))
    await store.office.key_revoke(KEY, at_ms=NOW)

    with pytest.raises(Unauthenticated) as refused:
        await store.ledger.reserve(reserve(2))
    assert refused.value.code == "key_revoked"
    await store.ledger.settle(settle(1))  # what it had begun is still billed


async def test_an_expired_key_is_refused_to_the_millisecond(store: Store) -> None:
    await fund(store, 10_000_000, expires_at_ms=NOW + 2)
    await store.ledger.reserve(reserve(1))

    with pytest.raises(Unauthenticated) as refused:
        await store.ledger.reserve(reserve(2))
    assert refused.value.code == "key_expired"


async def test_a_key_spends_its_own_wallet_only(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.office.wallet_create(wallet_id="wal_2", name="other", floor=Nanos(0), at_ms=NOW)

    for wrong in ({"wallet_id": "wal_2"}, {"key_id": "key_2"}):
        with pytest.raises(Unauthenticated) as refused:
            await store.ledger.reserve(reserve(1, **wrong))
        assert refused.value.code == "invalid_api_key"


# Repeats ----------------------------------------------------------------------------------------------------------


async def test_the_same_call_while_it_is_answered_is_told_to_come_back(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1, idempotency_key="same"))

    with pytest.raises(InFlight) as refused:
        await store.ledger.reserve(reserve(2, idempotency_key="same"))
    assert refused.value.retry_after_s == 1
    assert await funds(store) == (10_000_000, 600_000)


async def test_the_same_call_again_gets_its_receipt_and_is_billed_once(store: Store) -> None:
    await fund(store, 700_000)
    await store.ledger.reserve(reserve(1, idempotency_key="same"))
    await store.ledger.settle(settle(1))

    with pytest.raises(Repeated) as refused:  # although the wallet would not afford it any more
        await store.ledger.reserve(reserve(2, idempotency_key="same"))
    receipt = refused.value.details["receipt"]
    assert (receipt["id"], receipt["state"], receipt["charged"], receipt["max"]) == (
        message(1),
        "settled",
        "150",
        "600",
    )
    assert await funds(store) == (550_000, 0)


async def test_the_same_key_with_another_body_is_refused_in_flight_and_done(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1, idempotency_key="same"))
    other = reserve(2, idempotency_key="same", body_sha256=b"x" * 32)

    for _ in ("in flight", "done"):
        with pytest.raises(Unsupported) as refused:
            await store.ledger.reserve(other)
        assert refused.value.code == "idempotency_mismatch"
        await store.ledger.settle(settle(1))


async def test_a_failed_call_frees_its_key(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1, idempotency_key="same"))
    await store.ledger.release(release(1))
    await store.ledger.reserve(reserve(2, idempotency_key="same", body_sha256=b"x" * 32))

    receipt = await store.records.receipt(WALLET, message(2))
    assert receipt is not None and receipt.state is State.RESERVED


async def test_two_of_one_key_in_one_commit_are_one_call(store: Store) -> None:
    await fund(store, 10_000_000)
    answers = await asyncio.gather(
        *(store.ledger.reserve(reserve(number, idempotency_key="same")) for number in range(20)), return_exceptions=True
    )

    assert sum(isinstance(answer, InFlight) for answer in answers) == 19
    assert await funds(store) == (10_000_000, 600_000)


# The key's own limits ---------------------------------------------------------------------------------------------


async def test_a_quota_clamps_and_then_refuses(store: Store) -> None:
    await fund(store, 10_000_000, quota=Nanos(850_000))
    first = await store.ledger.reserve(reserve(1))
    assert (first.max_tokens, first.quota_available, first.available) == (100, 250_000, 9_400_000)

    second = await store.ledger.reserve(reserve(2, min_tokens=1))
    assert (second.max_tokens, second.quota_available) == (30, 0)
    with pytest.raises(PaymentRequired) as refused:
        await store.ledger.reserve(reserve(3, min_tokens=1))
    assert refused.value.code == "quota_exceeded"
    assert refused.value.details == {"required": "600", "available": "0", "affordable_max_tokens": 0}


@pytest.mark.parametrize("name", ["spend_5h", "spend_1d", "spend_7d"])
async def test_a_spend_window_refuses_until_it_ends_and_opens_fresh(store: Store, name: str) -> None:
    hours = {"spend_5h": 5, "spend_1d": 24, "spend_7d": 168}[name]
    end = NOW + 1 + hours * HOUR
    await fund(store, 10_000_000, **{name: Nanos(700_000)})
    await store.ledger.reserve(reserve(1))
    await store.ledger.settle(settle(1))

    await store.ledger.reserve(reserve(2, min_tokens=1, max_tokens=50))
    with pytest.raises(RateLimited) as refused:
        await store.ledger.reserve(reserve(3, at_ms=end - 1_500))
    assert (refused.value.code, refused.value.retry_after_s, refused.value.should_retry) == (name, 2, False)
    assert refused.value.details["available"] == "200"

    assert (await store.ledger.reserve(reserve(4, at_ms=end))).held == 600_000
    await store.ledger.settle(settle(2))  # pays the window that it was held in
    assert await funds(store) == (9_700_000, 600_000)


async def test_the_wallet_is_judged_first_then_the_quota_then_the_windows(store: Store) -> None:
    await fund(store, 500_000, quota=Nanos(400_000), spend_5h=Nanos(300_000), spend_1d=Nanos(200_000))

    async def refusal(needed: int) -> Any:
        with pytest.raises((PaymentRequired, RateLimited)) as refused:
            await store.ledger.reserve(reserve(1, max_tokens=0, min_tokens=0, input_ceiling=Nanos(needed)))
        return refused.value

    assert (await refusal(500_001)).code == "insufficient_credits"
    assert (await refusal(400_001)).code == "quota_exceeded"
    assert (await refusal(300_001)).code == "spend_5h"
    last = await refusal(200_001)
    assert (last.code, last.retry_after_s, last.details["available"]) == ("spend_1d", 24 * 3_600, "200")


async def test_what_is_affordable_is_the_least_of_all(store: Store) -> None:
    await fund(store, 10_000_000, quota=Nanos(350_000), spend_5h=Nanos(150_000))
    with pytest.raises(PaymentRequired) as refused:
        await store.ledger.reserve(reserve(1, min_tokens=60))

    assert refused.value.details == {"required": "600", "available": "350", "affordable_max_tokens": 10}


async def test_a_refused_call_opens_no_window(store: Store) -> None:
    await fund(store, 10_000_000, spend_5h=Nanos(5))
    with pytest.raises(RateLimited):
        await store.ledger.reserve(reserve(1))

    assert (await store.office.operator_accounts())["limits"] == 0


async def test_every_limit_of_a_key_is_held_and_paid_together(store: Store) -> None:
    caps = {name: Nanos(1_000_000) for name in ("quota", "spend_5h", "spend_1d", "spend_7d")}
    await fund(store, 10_000_000, **caps)
    mine = await store.office.key_find(KEY)
    await store.ledger.reserve(reserve(1))
    assert await store.records.spent(mine, NOW + 1) == dict.fromkeys(caps, 400_000)

    await store.ledger.settle(settle(1))
    assert await store.records.spent(mine, NOW + 1) == dict.fromkeys(caps, 850_000)
    await store.ledger.reserve(reserve(2))
    await store.ledger.release(release(2))

    assert await store.records.spent(mine, NOW + 1) == dict.fromkeys(caps, 850_000)
    assert (await store.office.operator_accounts())["limits"] == -4 * 850_000
    assert await funds(store) == (9_850_000, 0)


async def test_callers_race_for_a_quota_that_affords_three(store: Store) -> None:
    await fund(store, 100_000_000, quota=Nanos(3 * 600_000), spend_5h=Nanos(5 * 600_000))
    answers = await asyncio.gather(
        *(store.ledger.reserve(reserve(number)) for number in range(20)), return_exceptions=True
    )

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 3
    assert await funds(store) == (100_000_000, 3 * 600_000)
