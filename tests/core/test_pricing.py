"""A price is a whole number of nanodollars a token, so a charge is an exact sum of products.

Method: printed prices there and back, products against plain arithmetic, and the version in force at each moment.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.meter import TOKENS_MAX
from faregate.core.money import Nanos
from faregate.core.pricing import COLUMNS, NANOS_PER_TOKEN_MAX, PriceVersion, in_force, per_token, usd_per_mtok
from faregate.wire.usage import NOTHING, Usage

COUNTS = st.integers(0, 1_000_000_000)
RATES = st.integers(0, NANOS_PER_TOKEN_MAX)


def version(valid_from_ms: int = 0, **columns: int) -> PriceVersion:
    rates = {name: Nanos(columns.get(name, 0)) for name in COLUMNS}
    return PriceVersion(id=f"m@{valid_from_ms}", model="m", valid_from_ms=valid_from_ms, **rates)


@given(st.lists(COUNTS, min_size=5, max_size=5), st.lists(RATES, min_size=5, max_size=5))
def test_a_cost_is_the_sum_of_each_count_times_its_own_column(counts: list[int], rates: list[int]) -> None:
    usage = Usage(**dict(zip(COLUMNS, counts, strict=True)))
    price = version(**dict(zip(COLUMNS, rates, strict=True)))

    assert price.cost(usage) == sum(count * rate for count, rate in zip(counts, rates, strict=True))
    assert type(price.cost(usage)) is int


def test_nothing_costs_nothing() -> None:
    assert version(**dict.fromkeys(COLUMNS, 5_000)).cost(NOTHING) == 0


def test_the_largest_call_at_the_largest_price_fits_a_64_bit_column() -> None:
    dearest = version(**dict.fromkeys(COLUMNS, NANOS_PER_TOKEN_MAX))

    assert dearest.cost(Usage(**dict.fromkeys(COLUMNS, TOKENS_MAX))) < 2**63


@given(RATES)
def test_a_printed_price_reads_back_as_itself(rate: int) -> None:
    assert per_token(usd_per_mtok(rate)) == rate


@pytest.mark.parametrize(
    ("text", "nanos"), [("1.00", 1_000), ("0.10", 100), ("1.25", 1_250), ("0.003", 3), ("25", 25_000), ("0", 0)]
)
def test_prices_are_read_as_they_are_printed(text: str, nanos: int) -> None:
    assert per_token(text) == nanos


@pytest.mark.parametrize(
    ("nanos", "text"), [(1_000, "1.00"), (100, "0.10"), (1_250, "1.25"), (3, "0.003"), (0, "0.00")]
)
def test_prices_are_printed_with_two_decimals_or_three(nanos: int, text: str) -> None:
    assert usd_per_mtok(nanos) == text


@pytest.mark.parametrize("text", ["", "free", "-1", "1.2345", "1e2", "$3", "1,00", "1000000.5.2"])
def test_what_is_not_a_price_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not a price: USD per million tokens, at most three decimals"):
        per_token(text)


def test_a_price_beyond_reason_is_refused_with_the_limit_named() -> None:
    assert per_token("100000") == NANOS_PER_TOKEN_MAX
    with pytest.raises(ValueError, match="above the largest price, 100000 USD"):
        per_token("100000.001")


@given(st.sets(st.integers(0, 1_000), min_size=1), st.integers(-10, 1_100))
def test_the_version_in_force_is_the_latest_whose_time_has_come(starts: set[int], now_ms: int) -> None:
    found = in_force([version(start) for start in sorted(starts)], now_ms)
    come = [start for start in starts if start <= now_ms]

    assert (found.valid_from_ms if found else None) == (max(come) if come else None)
