"""The entries of a catalog file: prices are exact and dated, and each fault is a sentence with its place."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.entries import Origins, Problem, Report, price_version, read_limits, read_prices, read_rules
from faregate.core.pricing import usd_per_mtok

PRICES = {"input": "1.00", "output": "5.00", "cache_write_5m": "1.25", "cache_write_1h": "2.00", "cache_read": "0.10"}


def problems(read: Callable[..., object], *arguments: Any) -> list[str]:
    report = Report()
    read(*arguments, Origins({("m", ""): "f.toml"}) if read is read_rules else "f.toml", report)
    return [str(problem) for problem in report.problems]


def test_a_problem_is_one_line_with_its_place() -> None:
    assert str(Problem("f.toml", "m", "prices[0]", "input is missing")) == "f.toml: m: prices[0]: input is missing"
    assert str(Problem("f.toml", "", "", "not valid TOML")) == "f.toml: not valid TOML"


def test_a_day_begins_at_midnight_utc_and_names_the_version() -> None:
    version = price_version("m", "2025-10-15", PRICES)

    assert (version.id, version.valid_from_ms) == ("m@2025-10-15", 1_760_486_400_000)
    assert (version.input, version.output, version.cache_read) == (1_000, 5_000, 100)


def test_the_same_moment_in_another_zone_is_the_same_version() -> None:
    assert price_version("m", "2025-10-15T02:00:00+02:00", PRICES) == price_version("m", "2025-10-15", PRICES)
    assert price_version("m", "2025-10-15T08:30:00Z", PRICES).id == "m@2025-10-15T08:30:00Z"


@pytest.mark.parametrize(
    "moment", ["", "yesterday", "2025-13-01", "2025-10-15T08:00:00", "2025-10-15T08:00:00.5Z", "20251015"]
)
def test_what_is_no_moment_is_refused(moment: str) -> None:
    with pytest.raises(ValueError, match="is not a day as 2025-10-15 or a time"):
        price_version("m", moment, PRICES)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"input": "1.0001"}, "input '1.0001' is not a price"),
        ({"output": "-1"}, "output '-1' is not a price"),
        ({"cache_write_5m": "0.99"}, "cache_write_5m 0.99 is below input 1.00"),
        ({"cache_write_1h": "0.50"}, "cache_write_1h 0.50 is below input 1.00"),
        ({"cache_read": "1.01"}, "cache_read 1.01 is above input 1.00"),
    ],
)
def test_a_price_that_cannot_be_is_refused(change: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        price_version("m", "2025-10-15", PRICES | change)


@given(st.integers(0, 99_999_999))
def test_a_printed_price_reads_back_as_itself(nanos: int) -> None:
    printed = usd_per_mtok(nanos)
    columns = dict.fromkeys(PRICES, printed)

    assert price_version("m", "2025-10-15", columns).input == nanos


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (None, ["prices: is missing: without a price nothing can be billed"]),
        ([], ["prices: is missing: without a price nothing can be billed"]),
        ([3], ["prices[0]: should be a table"]),
        ([{**PRICES}], ["prices[0]: from is missing"]),
        ([{"from": "2025-10-15", **PRICES, "input": 1.0}], ["prices[0]: input should be in quotes"]),
        ([{"from": "2025-10-15", **PRICES, "batch": "1"}], ["prices[0]: batch is not a column of a price"]),
        (
            [{"from": "2025-10-16", **PRICES}, {"from": "2025-10-16", **PRICES}],
            ["prices[1]: m@2025-10-16 does not begin after m@2025-10-16: versions are appended in order"],
        ),
        (
            [{"from": "2025-10-16", **PRICES}, {"from": "2025-10-15", **PRICES}],
            ["prices[1]: m@2025-10-15 does not begin after m@2025-10-16: versions are appended in order"],
        ),
    ],
)
def test_a_fault_in_a_price_says_which(entries: Any, expected: list[str]) -> None:
    assert problems(read_prices, "m", entries) == [f"f.toml: m: {line}" for line in expected]


def test_every_missing_column_is_named() -> None:
    found = problems(read_prices, "m", [{"from": "2025-10-15", "input": "1"}])
    assert [line.rpartition(": ")[2] for line in found] == [f"{column} is missing" for column in list(PRICES)[1:]]


def test_unknown_keys_get_a_suggestion() -> None:
    assert any("context_windw: not a key of a model; did you mean 'context_window'?" in line
               for line in problems(read_limits, "m", {"context_windw": 1}))  # fmt: skip
    assert any("parameters.temprature: not a parameter of the Messages API; did you mean 'temperature'?" in line
               for line in problems(read_rules, "m", {}, {"temprature": {}}))  # fmt: skip


def test_a_parameter_without_a_shared_rule_is_a_fault() -> None:
    assert any("parameters.top_k: has no shared rule" in line for line in problems(read_rules, "m", {}, {}))
