"""What an upstream costs is exact, dated, and rounded once.

Method: costs as people write them, against products that are written out.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.costs import Cost, Costs, cost
from faregate.core.money import Nanos
from faregate.core.pricing import COLUMNS, PriceVersion
from faregate.wire.usage import Usage

DAY_MS = 86_400_000
USAGE = Usage(input=7, output=3, cache_read=11, cache_write_5m=5, cache_write_1h=2)


def listed(since_ms: int = 0, scale: int = 1) -> PriceVersion:
    columns = zip(COLUMNS, (1_000, 5_000, 1_250, 2_000, 100), strict=True)
    prices = {name: Nanos(nanos * scale) for name, nanos in columns}
    return PriceVersion(id=f"m@{since_ms}", model="m", valid_from_ms=since_ms, **prices)


def shared(share: str, *, model: str | None = None, valid_from: str | None = None) -> Cost:
    return cost(upstream="up", model=model, valid_from=valid_from, share=share, columns={})


def in_columns(price: str, model: str | None = None) -> Cost:
    return cost(upstream="up", model=model, valid_from=None, share=None, columns=dict.fromkeys(COLUMNS, price))


def test_a_share_is_of_the_list_price() -> None:
    assert Costs([shared("0.8")], [listed()]).of("up", "m", USAGE, 0) == listed().cost(USAGE) * 8 // 10
    assert Costs([shared("1.0825")], [listed()]).of("up", "m", Usage(output=10_000), 0) == 50_000_000 * 10825 // 10_000


@given(st.integers(0, 10**6), st.integers(0, 100_000))
def test_a_share_is_rounded_once_and_up(tokens: int, share: int) -> None:
    text = f"{share // 10_000}.{share % 10_000:04d}"
    found = Costs([shared(text)], [listed()]).of("up", "m", Usage(cache_read=tokens), 0)
    assert found is not None
    assert 0 <= found * 10_000 - tokens * 100 * share < 10_000


def test_five_columns_are_the_price_itself() -> None:
    assert Costs([in_columns("0.25")]).of("up", "m", USAGE, 0) == 28 * 250


def test_a_models_own_cost_goes_before_that_of_all() -> None:
    costs = Costs([shared("0.5"), in_columns("1", model="alias")], [listed()], models=lambda name: "m")
    assert costs.of("up", "m", USAGE, 0) == 28_000

    others = PriceVersion(**{**{n: getattr(listed(), n) for n in PriceVersion.__struct_fields__}, "model": "other"})
    costs = Costs([shared("0.5"), in_columns("1", model="m")], [listed(), others])
    assert costs.of("up", "other", USAGE, 0) == listed().cost(USAGE) // 2


def test_a_call_costs_what_held_when_it_was_made() -> None:
    costs = Costs(
        [shared("2", valid_from="1970-01-04T12:00:00+12:00"), shared("1"), shared("0.5", valid_from="1970-01-03")],
        [listed(), listed(since_ms=4 * DAY_MS, scale=10)],
    )
    whole = listed().cost(USAGE)

    assert costs.of("up", "m", USAGE, DAY_MS) == whole
    assert costs.of("up", "m", USAGE, 2 * DAY_MS) == whole // 2
    assert costs.of("up", "m", USAGE, 3 * DAY_MS) == whole * 2
    assert costs.of("up", "m", USAGE, 5 * DAY_MS) == whole * 20, "the list price has changed"


def test_what_nobody_said_is_not_known() -> None:
    costs = Costs([shared("0.5", valid_from="1970-01-03"), in_columns("1", model="x")], [listed()])
    assert bool(costs) and not Costs()
    assert costs.of(None, "m", USAGE, 9 * DAY_MS) is None, "nobody answered"
    assert costs.of("other", "m", USAGE, 9 * DAY_MS) is None
    assert costs.of("up", "m", USAGE, DAY_MS) is None, "it held later"
    assert costs.of("up", "unlisted", USAGE, 9 * DAY_MS) is None


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"share": "80%"}, "share: '80%' is not a share of the list price: 0 to 10, at most four decimals, as 0.8"),
        ({"share": "10.1"}, "share: '10.1' is not a share"),
        ({"share": "-1"}, "share: '-1' is not a share"),
        ({"share": "1", "columns": {"input": "1"}}, "input: stands beside share"),
        ({"columns": {"input": "1"}}, "output: is missing"),
        ({}, "input: is missing"),
        ({"columns": dict.fromkeys(COLUMNS, "cheap")}, "input: 'cheap' is not a price"),
        ({"share": "1", "valid_from": "soon"}, "valid_from: 'soon' is not a day as 2027-01-01"),
        ({"share": "1", "valid_from": "2027-01-01T00:00:00"}, "valid_from: '2027-01-01T00:00:00' is not a day"),
    ],
)
def test_what_is_no_cost_is_refused_by_its_field(written: dict[str, object], sentence: str) -> None:
    whole: dict[str, object] = {"upstream": "up", "model": None, "valid_from": None, "share": None, "columns": {}}
    with pytest.raises(ValueError) as refused:
        cost(**{**whole, **written})  # type: ignore[arg-type]
    assert str(refused.value).startswith(sentence)
