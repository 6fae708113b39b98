"""The figures of upstreams say who is up, what was tried, and what it cost the operator.

Method: feed records and a dispatch, scrape, and read the exposition back.
"""

from msgspec.structs import replace

from faregate.core.breaker import UNREACHABLE_MAX
from faregate.core.costs import Costs, cost
from faregate.core.dispatch import Dispatch
from faregate.core.money import Nanos
from faregate.core.pricing import COLUMNS, PriceVersion
from faregate.proxy.record import Attempt
from faregate.telemetry import Telemetry
from faregate.upstream_figures import LABELS_MAX, Upstreams
from tests.test_telemetry import good, scrape, value

PRICES = {name: Nanos(nanos) for name, nanos in zip(COLUMNS, (1_000, 5_000, 1_250, 2_000, 100), strict=True)}
"""Nanodollars per token."""
LISTED = PriceVersion(id="claude-x@1", model="claude-x", valid_from_ms=0, **PRICES)


def half_price() -> Costs:
    half = cost(upstream="main", model=None, valid_from=None, share="0.5", columns={})
    return Costs([half], [LISTED])


def feed(upstreams: Upstreams) -> None:
    """A call, and what it was sent by."""
    upstreams.watch(Dispatch(), ["main", "spare"], costs=half_price())
    upstreams.finished(good())


def test_attempts_are_counted_by_upstream_and_result() -> None:
    telemetry = Telemetry()
    telemetry.finished(good())
    telemetry.finished(good())

    assert value(telemetry, "faregate_upstream_attempts_total", upstream="main", result="ok") == 2
    assert value(telemetry, "faregate_upstream_attempts_total", upstream="spare", result="connect") == 2


def test_labels_beyond_the_bound_are_counted_together() -> None:
    telemetry = Telemetry()
    for number in range(LABELS_MAX + 3):
        telemetry.finished(replace(good(), attempts=(Attempt(f"up{number}"),)))

    assert value(telemetry, "faregate_upstream_attempts_total", upstream="other", result="other") == 3


def test_a_breaker_is_in_one_state() -> None:
    telemetry, dispatch = Telemetry(), Dispatch()
    telemetry.upstreams.watch(dispatch, ["main", "spare"], costs=Costs())
    for _ in range(UNREACHABLE_MAX):
        # Far in the future of any clock that counts from a start.
        permit = dispatch.begin("main", "m", 1e12)
        assert permit is not None
        dispatch.bad("main", permit, "m", 1e12, alive=False, unreachable=True, asked_ms=None)

    states = ("closed", "half_open", "open")
    for name, expected in (("main", [0, 0, 1]), ("spare", [1, 0, 0])):
        assert [value(telemetry, "faregate_upstream_breaker", upstream=name, state=s) for s in states] == expected


def test_retries_and_affinity_are_counted() -> None:
    telemetry, dispatch = Telemetry(), Dispatch()
    telemetry.upstreams.watch(dispatch, ["main"], costs=Costs())
    dispatch.budget.take(0.0)
    dispatch.affinity.kept += 2

    assert value(telemetry, "faregate_retries_total", result="made") == 1
    assert value(telemetry, "faregate_retries_total", result="refused") == 0
    assert value(telemetry, "faregate_affinity_total", result="kept") == 2


def test_what_an_upstream_cost_is_told_where_a_cost_is_configured_and_nowhere_else() -> None:
    told, untold = Telemetry(), Telemetry()
    feed(told.upstreams)
    untold.finished(good())

    # 12 input, 34 output, 5 read and 7 written for an hour, at half of the list price.
    nanos = (12 * 1_000 + 34 * 5_000 + 5 * 100 + 7 * 2_000) / 2
    assert value(told, "faregate_upstream_cost_credits_total", upstream="main", model="claude-x") == nanos / 1_000
    assert not any("cost" in name for name, _ in scrape(untold))
