"""Credits are shown and read without losing a nanodollar.

Method: every amount there and back, and what is not an amount.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.money import CREDITS_PER_USD, NANOS_MAX, NANOS_PER_CREDIT, NANOS_PER_USD, parse_credits, show_credits

AMOUNTS = st.integers(-NANOS_MAX, NANOS_MAX)


@given(AMOUNTS)
def test_what_is_shown_reads_back_as_the_same_amount(nanos: int) -> None:
    assert parse_credits(show_credits(nanos)) == nanos


@given(AMOUNTS)
def test_at_most_three_decimals_are_shown_and_none_that_says_nothing(nanos: int) -> None:
    whole, point, decimals = show_credits(nanos).partition(".")

    assert whole.lstrip("-").isdigit()
    assert len(decimals) <= 3
    assert bool(point) == bool(decimals) and not decimals.endswith("0")


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0"), (1, "0.001"), (-1, "-0.001"), (10, "0.01"), (12_500, "12.5"), (1_000, "1"), (-2_050, "-2.05")],
)
def test_amounts_are_shown_as_people_write_them(nanos: int, text: str) -> None:
    assert show_credits(nanos) == text


@pytest.mark.parametrize(("text", "nanos"), [(" 12.5 ", 12_500), ("007", 7_000), ("1.100", 1_100), ("-3", -3_000)])
def test_amounts_are_read_as_people_write_them(text: str, nanos: int) -> None:
    assert parse_credits(text) == nanos


@pytest.mark.parametrize(
    "text", ["", "-", "1.", ".5", "1,5", "1e3", "1.2345", "+1", "1 000", "٣", "0x10", "nan", "--1"]
)
def test_what_is_not_an_amount_is_refused_with_a_sentence_that_shows_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an amount of credits: digits with at most three decimals, as 12\.5"):
        parse_credits(text)


def test_more_than_a_column_bears_is_refused_with_the_limit_named() -> None:
    assert parse_credits(show_credits(NANOS_MAX)) == NANOS_MAX
    with pytest.raises(ValueError, match=r"more than one amount may be \(100000000000000\)"):
        parse_credits(show_credits(NANOS_MAX + 1))


def test_a_dollar_is_a_million_credits_and_a_thousand_million_nanodollars() -> None:
    assert (NANOS_PER_USD, CREDITS_PER_USD * NANOS_PER_CREDIT) == (1_000_000_000, NANOS_PER_USD)
