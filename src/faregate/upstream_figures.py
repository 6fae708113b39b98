"""What the operator sees of the upstreams: attempts, breakers, retries, affinity, and what it all cost.

The rule of `telemetry` holds: a call adds plain numbers, and metrics are made of them when somebody scrapes. What costs
would tell of the operator's contracts, so there is such a figure only where costs are configured, and `/metrics` is to
be kept from the public (SECURITY.md).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from faregate.core.breaker import State
from faregate.core.costs import Costs
from faregate.core.dispatch import Dispatch
from faregate.core.money import NANOS_PER_CREDIT
from faregate.proxy.record import CallRecord

LABELS_MAX: Final = 500
"""Pairs of labels that are kept. All are ours (configured names, words of faults), so this is never met."""

_OTHER: Final = "other"


class Upstreams(Collector):
    """Of one gateway. Lives on its event loop."""

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._attempts: dict[tuple[str, str], int] = {}
        self._nanos_cost: dict[tuple[str, str], int] = {}
        self._dispatch: Dispatch | None = None
        self._names: Sequence[str] = ()
        self._costs = Costs()

    def watch(self, dispatch: Dispatch, names: Sequence[str], *, costs: Costs) -> None:
        """Show the state of these upstreams from now on."""
        self._dispatch, self._names, self._costs = dispatch, names, costs

    def finished(self, record: CallRecord) -> None:
        """Count one request that has ended."""
        for attempt in record.attempts:
            _add(self._attempts, (attempt.upstream, attempt.error or "ok"), 1)
        if self._costs and record.upstream is not None and record.model is not None:
            cost = self._costs.of(record.upstream, record.model, record.usage, self._now_ms())
            if cost is not None:
                _add(self._nanos_cost, (record.upstream, record.model), cost)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Every figure as of now."""
        attempts = CounterMetricFamily(
            "faregate_upstream_attempts", "Tries at an upstream.", labels=["upstream", "result"]
        )
        for labels, count in self._attempts.items():
            attempts.add_metric(labels, count)
        yield attempts
        if self._dispatch is not None:
            yield from _states(self._dispatch, self._names)
        if self._nanos_cost:
            cost = CounterMetricFamily(
                "faregate_upstream_cost_credits", "What upstreams cost.", labels=["upstream", "model"]
            )
            for labels, nanos in self._nanos_cost.items():
                cost.add_metric(labels, nanos / NANOS_PER_CREDIT)
            yield cost


def _states(dispatch: Dispatch, names: Sequence[str]) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    now_s = time.monotonic()  # The event loop's clock.
    breakers = GaugeMetricFamily(
        "faregate_upstream_breaker", "1 for the state that it is in.", labels=["upstream", "state"]
    )
    for name in names:
        current = dispatch.state(name, now_s)
        for state in State:
            breakers.add_metric([name, state], int(state is current))
    yield breakers
    retries = CounterMetricFamily("faregate_retries", "Second attempts, or what would have been.", labels=["result"])
    retries.add_metric(["made"], dispatch.budget.made)
    retries.add_metric(["refused"], dispatch.budget.refused)
    yield retries
    affinity = CounterMetricFamily("faregate_affinity", "Calls that had a choice of upstreams.", labels=["result"])
    for result in ("kept", "moved", "new"):
        affinity.add_metric([result], getattr(dispatch.affinity, result))
    yield affinity


def _add(table: dict[tuple[str, str], int], labels: tuple[str, str], count: int) -> None:
    if labels not in table and len(table) >= LABELS_MAX:
        labels = (_OTHER, _OTHER)
    table[labels] = table.get(labels, 0) + count
