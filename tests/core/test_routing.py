"""The retry envelope's arithmetic: bounded in attempts and in time, jittered over the whole range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.routing import (
    Retry,
    Route,
    Routes,
    about_our_account,
    asked_wait_ms,
    drawn,
    may_retry,
    retryable,
    wait_ms,
)

RETRY = Retry()
NOW_MS = 1_792_567_680_000
"""2026-10-21 07:28:00 GMT."""


def test_without_routes_every_model_goes_to_all_upstreams_in_order() -> None:
    assert Routes(["a", "b"]).upstreams("any") == ("a", "b")


def test_a_route_names_its_own_upstreams_and_leaves_other_models_alone() -> None:
    routes = Routes(["a", "b"], {"m": ["b"]})

    assert routes.upstreams("m") == ("b",)
    assert routes.upstreams("other") == ("a", "b")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_each_is_drawn_as_often_as_its_weight_says(weights: list[int]) -> None:
    names = [f"up{index}" for index in range(len(weights))]
    whole = sum(weights)
    found = [drawn(names, weights, chance=(step + 0.5) / whole) for step in range(whole)]

    assert [found.count(name) for name in names] == weights
    assert whole or drawn(names, weights, chance=0.5) is None


def test_a_conversations_past_matters_where_there_is_a_choice_and_it_is_wanted() -> None:
    assert Route(upstreams=("a", "b")).has_affinity
    assert not Route(upstreams=("a",)).has_affinity
    assert not Route(upstreams=("a", "b"), affinity=False).has_affinity


def test_what_is_about_our_account_is_told_by_its_first_words() -> None:
    assert about_our_account("You have reached your specified API usage limits. You will regain access on 2026-12-01.")
    assert not about_our_account("messages.0.content: Your credit balance is too low")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529, 599])
def test_what_time_may_mend_is_tried_again(status: int) -> None:
    assert retryable(status)


@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 413, 422])
def test_what_time_will_not_mend_is_not(status: int) -> None:
    assert not retryable(status)


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_within_its_doubling_range(attempt: int, chance: float) -> None:
    wait = wait_ms(RETRY, attempt, asked_ms=None, chance=chance)

    assert 0 <= wait <= min(RETRY.wait_ms_max, RETRY.wait_ms * 2 ** (attempt - 1))


def test_upstreams_own_word_goes_before_ours() -> None:
    assert wait_ms(RETRY, 1, asked_ms=1_234, chance=0.5) == 1_234


@given(st.integers(1, 20), st.integers(0, 60_000), st.integers(0, 60_000))
def test_a_further_attempt_fits_the_envelope_or_is_not_made(attempt: int, elapsed_ms: int, wait: int) -> None:
    fits = attempt < RETRY.attempts_max and elapsed_ms + wait <= RETRY.budget_ms
    assert may_retry(RETRY, attempt, elapsed_ms=elapsed_ms, wait_ms=wait) is fits


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "2"}, 2_000),
        ({"retry-after": "0.5"}, 500),
        ({"retry-after-ms": "70", "retry-after": "9"}, 70),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 30_000),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30"}, 30_000),
        ({"retry-after": "Wed, 21 Oct 2020 07:28:30 GMT"}, 0),
        ({"retry-after": "Wed, 41 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "9" * 40}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "²"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_both_spellings_and_nonsense_is_none(
    headers: dict[str, str], expected: int | None
) -> None:
    assert asked_wait_ms(headers, now_ms=NOW_MS) == expected


@given(
    st.one_of(
        st.text(), st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,4} \d\d:\d\d:\d\d( [+-]\d{4}| GMT)?")
    )
)
def test_no_retry_after_whatever_it_says_raises_or_asks_for_less_than_nothing(value: str) -> None:
    asked = asked_wait_ms({"retry-after": value}, now_ms=NOW_MS)
    assert asked is None or asked >= 0
