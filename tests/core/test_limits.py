"""Rates hold, refill to the last part of a unit, and take back what a call did not use. Time comes in, so none waits.

Method: buckets by hand for what is told, Hypothesis for what must hold of any run of calls and clocks.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.errors import RateLimited
from faregate.core.limits import (
    ABANDON_MS,
    LIMIT_MAX,
    MINUTE_MS,
    SKEW_MS_MAX,
    Bucket,
    headers,
    in_window,
    judge,
    judge_abandoned,
    judge_concurrency,
    refilled,
    stand,
    taken,
)

NOW = 1_700_000_000_000


class Meter:
    """One rate of one key, kept as the ledger keeps it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: dict[str, tuple[int, int]] = {}

    def at(self, now_ms: int) -> Bucket:
        (bucket,) = stand((None, self.limit, None), self.kept, now_ms)
        return bucket

    def take(self, amount: int, now_ms: int) -> bool:
        bucket = self.at(now_ms)
        try:
            judge([bucket], {"input_tokens": amount}, now_ms)
        except RateLimited:
            return False
        after = taken(bucket, amount)
        self.kept[after.name] = (after.level, after.seen_ms)
        return True

    def give_back(self, amount: int) -> None:
        level, seen_ms = self.kept["input_tokens"]
        self.kept["input_tokens"] = (level + amount * MINUTE_MS, seen_ms)


def refusal(meter: Meter, amount: int, now_ms: int) -> RateLimited:
    with pytest.raises(RateLimited) as refused:
        judge([meter.at(now_ms)], {"input_tokens": amount}, now_ms)
    return refused.value


# Holding ----------------------------------------------------------------------------------------------------------

CALLS = st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 400), st.integers(0, 500)), min_size=1, max_size=100)
"""For each call: how long after the one before, what it takes, and what it then uses."""


@given(st.integers(1, 1_000), CALLS)
def test_no_time_sees_more_used_than_its_worth_one_full_bucket_and_one_calls_error(
    limit: int, calls: list[tuple[int, int, int]]
) -> None:
    meter, now_ms, used = Meter(limit), 0, 0
    for gap_ms, takes, uses in calls:
        now_ms += gap_ms
        if meter.take(takes, now_ms):
            meter.give_back(takes - uses)
            used += uses
    largest = max(max(takes, uses) for _, takes, uses in calls)

    assert used * MINUTE_MS <= limit * (MINUTE_MS + now_ms) + largest * MINUTE_MS


@given(st.integers(1, 1_000), CALLS)
def test_a_bucket_is_never_above_full_nor_below_empty_by_more_than_one_call(
    limit: int, calls: list[tuple[int, int, int]]
) -> None:
    meter, now_ms = Meter(limit), 0
    for gap_ms, takes, uses in calls:
        now_ms += gap_ms
        if meter.take(takes, now_ms):
            meter.give_back(takes - uses)
        level = meter.at(now_ms).level
        assert -max(takes for _, takes, _ in calls) - 500 <= level / MINUTE_MS <= limit


@given(st.integers(1, LIMIT_MAX), st.lists(st.integers(0, 7_919), max_size=20))
def test_a_refill_in_pieces_is_to_the_last_part_the_refill_at_once(limit: int, pieces_ms: list[int]) -> None:
    empty = Bucket("requests", limit, -3 * limit * MINUTE_MS, NOW)
    bucket, now_ms = empty, NOW
    for piece_ms in pieces_ms:
        now_ms += piece_ms
        bucket = refilled(bucket, now_ms)

    assert bucket == refilled(empty, now_ms)
    assert bucket.level == empty.level + limit * sum(pieces_ms)


@given(st.integers(1, 10_000), st.integers(1, 20_000), st.integers(-(10**9), 10**9))
def test_who_waits_as_long_as_he_is_told_is_let_in_and_not_a_millisecond_before(
    limit: int, amount: int, level: int
) -> None:
    bucket = Bucket("requests", limit, min(level, limit * MINUTE_MS), NOW)
    wait_ms = bucket.wait_ms(amount, NOW)

    assert refilled(bucket, NOW + wait_ms).wait_ms(amount, NOW + wait_ms) == 0
    if wait_ms:
        assert refilled(bucket, NOW + wait_ms - 1).wait_ms(amount, NOW + wait_ms - 1) == 1


def test_a_call_larger_than_a_minutes_worth_waits_for_a_full_bucket_and_then_goes() -> None:
    meter = Meter(100)
    assert meter.take(5_000, NOW)
    assert not meter.take(5_000, NOW + MINUTE_MS)
    assert meter.take(5_000, NOW + 50 * MINUTE_MS)


def test_what_was_not_used_goes_back_and_what_was_used_beyond_is_taken() -> None:
    meter = Meter(1_000)
    assert meter.take(900, NOW)
    assert not meter.take(200, NOW)
    meter.give_back(800)
    assert meter.take(900, NOW)
    meter.give_back(-1_100)
    assert meter.at(NOW).level == -1_100 * MINUTE_MS
    assert not meter.take(1, NOW + 59_000)


def test_what_is_given_back_into_a_bucket_that_has_refilled_is_not_more_than_full() -> None:
    meter = Meter(100)
    assert meter.take(100, NOW)
    meter.give_back(100)
    assert meter.at(NOW + MINUTE_MS) == Bucket("input_tokens", 100, 100 * MINUTE_MS, NOW + MINUTE_MS)


def test_a_limit_beyond_all_sense_is_one_that_a_database_can_hold() -> None:
    (bucket,) = stand((2**53, None, None), {}, NOW)
    assert bucket.level == LIMIT_MAX * MINUTE_MS < 10**18


# Clocks -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 1_000), st.lists(st.integers(-SKEW_MS_MAX, SKEW_MS_MAX), min_size=1, max_size=50))
def test_clocks_that_disagree_let_in_no_more_than_the_furthest_ahead_alone(limit: int, skews_ms: list[int]) -> None:
    meter = Meter(limit)
    let_in = sum(meter.take(1, NOW + skew_ms) for skew_ms in skews_ms for _ in range(3))

    assert let_in <= limit + limit * 2 * SKEW_MS_MAX // MINUTE_MS
    assert let_in <= limit + limit * (max(skews_ms) - min(skews_ms)) // MINUTE_MS


def test_a_clock_that_goes_back_gives_nothing_away_and_says_how_long_it_takes() -> None:
    meter = Meter(1)
    assert meter.take(1, NOW)
    error = refusal(meter, 1, NOW - 10_000)

    assert error.retry_after_s == 70
    assert not meter.take(1, NOW - 10_000 + 69_999)
    assert meter.take(1, NOW - 10_000 + 70_000)


@pytest.mark.parametrize("ahead_ms", [SKEW_MS_MAX + 1, 10**12])
def test_a_clock_that_was_far_ahead_and_set_right_keeps_nobody_waiting_for_it(ahead_ms: int) -> None:
    meter = Meter(2)
    assert meter.take(1, NOW + ahead_ms)
    assert meter.take(1, NOW), "what was there is there"
    assert refusal(meter, 1, NOW).retry_after_s == 30


# Words ------------------------------------------------------------------------------------------------------------


def test_the_call_after_a_minutes_worth_is_told_the_limit_what_is_left_and_when_to_come_back() -> None:
    meter = Meter(3)
    assert [meter.take(1, NOW) for _ in range(3)] == [True, True, True]
    error = refusal(meter, 1, NOW)

    assert (error.code, error.retry_after_s, error.should_retry) == ("input_tokens", 20, True)
    assert error.message == (
        "This key's limit is 3 input tokens a minute; 0 are left and this call takes 1. Try again in 20 s."
    )
    assert (b"anthropic-ratelimit-input-tokens-remaining", b"0") in error.headers
    assert meter.take(1, NOW + 20_000)


@pytest.mark.parametrize(("used", "again"), [(1_999, True), (2_001, False)])
def test_who_would_wait_for_more_than_a_minute_is_told_not_to_try_again_by_itself(used: int, again: bool) -> None:  # noqa: FBT001
    meter = Meter(1_000)
    assert meter.take(1, NOW)
    meter.give_back(1 - used)
    error = refusal(meter, 1, NOW)

    assert error.should_retry is again
    assert ((error.retry_after_s or 0) <= 60) is again


def test_the_first_rate_that_has_too_little_is_named_in_the_order_of_the_table() -> None:
    buckets = stand((1, 1, 1), {"input_tokens": (0, NOW), "output_tokens": (0, NOW)}, NOW)
    with pytest.raises(RateLimited) as refused:
        judge(buckets, {"requests": 1, "input_tokens": 1, "output_tokens": 1}, NOW)
    assert refused.value.code == "input_tokens"


def test_concurrency_lets_in_as_many_as_it_says_and_tells_the_rates_too() -> None:
    buckets = stand((9, None, None), {}, NOW)
    judge_concurrency(None, 10**6, buckets, NOW)
    judge_concurrency(2, 1, buckets, NOW)
    with pytest.raises(RateLimited, match="already has 2 calls under way, and its limit is 2") as refused:
        judge_concurrency(2, 2, buckets, NOW)

    assert (refused.value.code, refused.value.retry_after_s, refused.value.should_retry) == ("concurrency", 1, True)
    assert (b"anthropic-ratelimit-requests-remaining", b"9") in refused.value.headers


def test_headers_say_limit_remaining_and_when_it_is_full_again() -> None:
    first, second = stand((60, None, 600), {}, NOW)
    said = dict(headers([taken(first, 1), taken(second, 300)], NOW))

    assert said == {
        b"anthropic-ratelimit-requests-limit": b"60",
        b"anthropic-ratelimit-requests-remaining": b"59",
        b"anthropic-ratelimit-requests-reset": b"2023-11-14T22:13:21Z",
        b"anthropic-ratelimit-output-tokens-limit": b"600",
        b"anthropic-ratelimit-output-tokens-remaining": b"300",
        b"anthropic-ratelimit-output-tokens-reset": b"2023-11-14T22:13:50Z",
    }
    assert headers([], NOW) == []


# Hanging up -------------------------------------------------------------------------------------------------------


def test_what_was_abandoned_below_the_budget_is_forgiven_and_at_it_the_key_waits_for_its_hour() -> None:
    judge_abandoned(1_000_000, 999_999, NOW, NOW)
    with pytest.raises(RateLimited, match=r"cost the gateway 1000 credits, and 1000 are tolerated") as refused:
        judge_abandoned(1_000_000, 1_000_000, NOW, NOW + 1)

    assert (refused.value.code, refused.value.retry_after_s, refused.value.should_retry) == ("abandoned", 3_600, False)
    assert refused.value.details == {"lost": "1000", "budget": "1000"}
    assert "limits.abandon_budget" in refused.value.message
    judge_abandoned(1_000_000, 1_000_000, NOW, NOW + ABANDON_MS)


def test_a_budget_of_nothing_is_used_up_by_the_first_loss_and_not_before() -> None:
    judge_abandoned(0, 0, NOW, NOW)
    with pytest.raises(RateLimited):
        judge_abandoned(0, 1, NOW, NOW)


def test_a_window_of_a_clock_that_was_far_ahead_is_none() -> None:
    assert in_window(NOW, NOW) and in_window(NOW, NOW - SKEW_MS_MAX) and in_window(NOW, NOW + ABANDON_MS - 1)
    assert not in_window(NOW, NOW - SKEW_MS_MAX - 1)
    assert not in_window(NOW, NOW + ABANDON_MS)
