"""Rates hold, refill evenly, and take back what a call did not use. Time comes in, so no test waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.access import Key
from faregate.core.errors import RateLimited
from faregate.core.limits import MINUTE_MS, Limits, Ticket


def key(**limits: int) -> Key:
    return Key(id="k", wallet_id="w", name="n", created_at_ms=0, **limits)  # type: ignore[arg-type]


def take(limits: Limits, which: Key, now_ms: int = 0, input_tokens: int = 1, output_tokens: int = 1) -> Ticket:
    ticket = limits.take(which, input_tokens=input_tokens, output_tokens=output_tokens, now_ms=now_ms)
    assert ticket is not None
    return ticket


def test_a_key_without_limits_needs_no_ticket() -> None:
    assert Limits().take(key(), input_tokens=10**9, output_tokens=10**9, now_ms=0) is None


def test_the_request_after_a_minutes_worth_is_refused_with_the_time_to_wait() -> None:
    limits, limited = Limits(), key(requests_per_minute=3)
    for _ in range(3):
        take(limits, limited)
    with pytest.raises(RateLimited) as refused:
        take(limits, limited)

    assert refused.value.code == "requests"
    assert refused.value.retry_after_s == pytest.approx(20)
    take(limits, limited, now_ms=20_000)


@given(st.integers(1, 60), st.lists(st.integers(0, 5_000), min_size=1, max_size=200))
def test_no_minute_lets_in_more_than_two_minutes_worth_of_requests(limit: int, gaps_ms: list[int]) -> None:
    limits, limited, now_ms, let_in = Limits(), key(requests_per_minute=limit), 0, 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        try:
            take(limits, limited, now_ms)
            let_in += 1
        except RateLimited:
            pass
    assert let_in <= limit + limit * now_ms / MINUTE_MS + 1


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_tokens_are_taken_by_estimate_and_corrected_at_the_end(name: str) -> None:
    limits, limited = Limits(), key(**{f"{name}_per_minute": 1_000})
    ticket = take(limits, limited, input_tokens=900, output_tokens=900)
    with pytest.raises(RateLimited) as refused:
        take(limits, limited, input_tokens=200, output_tokens=200)
    assert refused.value.code == name

    ticket.close(input_tokens=100, output_tokens=100)
    take(limits, limited, input_tokens=900, output_tokens=900).close(input_tokens=2_000, output_tokens=2_000)
    with pytest.raises(RateLimited):
        take(limits, limited, now_ms=59_000)


def test_a_call_larger_than_a_minutes_worth_waits_for_a_full_bucket_and_then_goes() -> None:
    limits, limited = Limits(), key(input_tokens_per_minute=100)
    take(limits, limited, input_tokens=5_000)
    with pytest.raises(RateLimited):
        take(limits, limited, now_ms=MINUTE_MS, input_tokens=5_000)
    take(limits, limited, now_ms=50 * MINUTE_MS, input_tokens=5_000)


@pytest.mark.parametrize(("used", "again"), [(1_500, True), (9_000, False)])
def test_who_would_wait_for_more_than_a_minute_is_told_not_to_try_again_by_itself(used: int, again: bool) -> None:  # noqa: FBT001
    limits, limited = Limits(), key(output_tokens_per_minute=1_000)
    take(limits, limited).close(input_tokens=0, output_tokens=used)
    with pytest.raises(RateLimited) as refused:
        take(limits, limited)

    assert refused.value.should_retry is again
    assert ((refused.value.retry_after_s or 0) <= 60) is again


def test_concurrency_counts_calls_under_way_and_closing_twice_counts_once() -> None:
    limits, limited = Limits(), key(concurrency=2, requests_per_minute=9)
    first = take(limits, limited)
    take(limits, limited)
    with pytest.raises(RateLimited) as refused:
        take(limits, limited)
    assert refused.value.code == "concurrency"
    assert (b"anthropic-ratelimit-requests-remaining", b"7") in refused.value.headers

    first.close(input_tokens=0, output_tokens=0)
    first.close(input_tokens=0, output_tokens=0)
    take(limits, limited)
    with pytest.raises(RateLimited):
        take(limits, limited)


def test_a_refused_call_takes_nothing_from_the_other_rates() -> None:
    limits, limited = Limits(), key(requests_per_minute=10, input_tokens_per_minute=100)
    take(limits, limited, input_tokens=100)
    for _ in range(50):
        with pytest.raises(RateLimited):
            take(limits, limited, input_tokens=100)

    headers = dict(limits.headers(limited, 0))
    assert headers[b"anthropic-ratelimit-requests-remaining"] == b"9"


def test_headers_say_limit_remaining_and_when_it_is_full_again() -> None:
    limits, limited = Limits(), key(requests_per_minute=60, output_tokens_per_minute=600)
    now_ms = 1_700_000_000_000
    take(limits, limited, now_ms=now_ms, output_tokens=300)

    headers = dict(limits.headers(limited, now_ms))
    assert headers[b"anthropic-ratelimit-requests-limit"] == b"60"
    assert headers[b"anthropic-ratelimit-requests-remaining"] == b"59"
    assert headers[b"anthropic-ratelimit-output-tokens-remaining"] == b"300"
    assert headers[b"anthropic-ratelimit-output-tokens-reset"] == b"2023-11-14T22:13:50Z"
    assert b"anthropic-ratelimit-input-tokens-limit" not in headers


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    limits, limited = Limits(), key(requests_per_minute=1)
    take(limits, limited, now_ms=100_000)
    with pytest.raises(RateLimited):
        take(limits, limited, now_ms=0)
