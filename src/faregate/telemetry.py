"""What the operator sees of each call: figures for Prometheus, and one line in the log.

`finished(record)` is called once per request and is all that the hot path pays: plain numbers are added up on the
event loop, and made into metrics when somebody scrapes; a log line whose level is off is not formatted. The registry is
our own, so that nothing another library registers is exported by accident, and two gateways in one process do not
share figures.

    requests    by model, status, outcome      first event, total, added by us: seconds
    tokens      by model, class                estimate over charge: 1 is exact
    credits     charged, held                  committer: batch size and wait
    error       |estimate - charge| / charge, of the call and of its input, by whether the prompt's prefix was known
    holds       open now                       of upstreams: see `upstream_figures`
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from faregate.core.ledger import Outcome
from faregate.core.money import NANOS_PER_CREDIT
from faregate.logs import RequestLog
from faregate.proxy.record import CallRecord
from faregate.upstream_figures import Upstreams
from faregate.wire.usage import Usage

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

LABELS_MAX: Final = 500
"""Values of a label that are kept. All are ours (catalog ids, configured names), so this is never met; if it were, a
scrape would still stay small, and the rest would be counted under `other`."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
ADDED_SECONDS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
RATIOS: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 4, 10)
ERRORS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 10)
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_OTHER: Final = "other"
_KNOWN: Final = {False: "new", True: "known"}
_CLASSES: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


class Telemetry(Collector):
    """The gateway's metrics, and its request log. Lives on one event loop."""

    def __init__(self, log: RequestLog | None = None) -> None:
        self._log = log
        self._holds_open = 0
        self._nanos_held = 0
        self._audit_findings: int | None = None
        self._spooled = 0
        self._models: dict[str | None, _ModelFigures] = {}
        self._added = _Spread(ADDED_SECONDS)
        self._batch = _Spread(BATCHES)
        self._wait = _Spread(ADDED_SECONDS)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.upstreams = Upstreams()
        self.registry.register(self.upstreams)

    def reserved(self, held: int) -> None:
        """A hold was taken; the record of the same call, with the same `held`, frees it."""
        self._holds_open += 1
        self._nanos_held += held

    def finished(self, record: CallRecord) -> None:
        """Count one request that has ended, and log it."""
        model = self._models.get(record.model) or self._model(record.model)
        model.finished(record)
        self.upstreams.finished(record)
        if record.added_ms is not None:
            self._added.observe(record.added_ms / 1_000)
        if record.held:
            self._holds_open -= 1
            self._nanos_held -= record.held
        if self._log is not None:
            self._log.request(record)

    def committed(self, commands: int, wait_s: float) -> None:
        """The store committed a batch; `wait_s` is how long its first command had waited."""
        self._batch.observe(commands)
        self._wait.observe(wait_s)

    def spooled(self, waiting: int) -> None:
        """So many settles wait in the spool for the database."""
        self._spooled = waiting

    def audited(self, broken: int) -> None:
        """The books were audited; so many of their rules are broken."""
        self._audit_findings = broken

    def render(self) -> bytes:
        """The exposition that `/metrics` answers with, of type CONTENT_TYPE."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Every figure as of now, for the registry."""
        models = {figures.name: figures for figures in self._models.values()}.items()
        requests = CounterMetricFamily(
            "faregate_requests", "Requests that ended.", labels=["model", "status", "outcome"]
        )
        tokens = CounterMetricFamily("faregate_tokens", "Tokens charged, by class.", labels=["model", "class"])
        credits_charged = CounterMetricFamily("faregate_credits_charged", "Credits charged.", labels=["model"])
        for name, figures in models:
            for (status, outcome), count in figures.requests.items():
                requests.add_metric([name, str(status), outcome], count)
            for kind in _CLASSES:
                tokens.add_metric([name, kind], figures.tokens[kind])
            credits_charged.add_metric([name], figures.nanos_charged / NANOS_PER_CREDIT)
        yield from (requests, tokens, credits_charged)

        for metric, help_, spread in (
            ("faregate_first_event_seconds", "Request to first event.", "first_event"),
            ("faregate_request_seconds", "Request to its end.", "total"),
            ("faregate_estimate_ratio", "Estimated over charged credits; 1 is exact.", "estimate"),
        ):
            family = HistogramMetricFamily(metric, help_, labels=["model"])
            for name, figures in models:
                getattr(figures, spread).add_to(family, [name])
            yield family
        error = HistogramMetricFamily(
            "faregate_estimate_error", "|estimated - charged| / charged.", labels=["model", "of", "prefix"]
        )
        for name, figures in models:
            for (of, known), spread_of in figures.errors.items():
                spread_of.add_to(error, [name, of, _KNOWN[known]])
        yield error
        for metric, help_, one in (
            ("faregate_added_seconds", "What of a request was ours.", self._added),
            ("faregate_commit_commands", "Commands in a commit.", self._batch),
            ("faregate_commit_wait_seconds", "From a batch's first command to its commit.", self._wait),
        ):
            family = HistogramMetricFamily(metric, help_, labels=[])
            one.add_to(family, [])
            yield family
        yield GaugeMetricFamily("faregate_holds_open", "Holds that are open now.", self._holds_open)
        held = self._nanos_held / NANOS_PER_CREDIT
        yield GaugeMetricFamily("faregate_credits_held", "Credits held by open holds.", held)
        yield GaugeMetricFamily("faregate_spooled", "Settles that wait in the spool for the database.", self._spooled)
        findings = float("nan") if self._audit_findings is None else self._audit_findings
        yield GaugeMetricFamily("faregate_audit_findings", "Rules that the books break.", findings)

    def _model(self, model: str | None) -> "_ModelFigures":
        if len(self._models) < LABELS_MAX:
            figures = self._models[model] = _ModelFigures(model or "unknown")
            return figures
        return self._models.setdefault(_OTHER, _ModelFigures(_OTHER))


class _ModelFigures:
    """What is counted for one model. Statuses and outcomes are few, so they need no bound."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: dict[tuple[int, Outcome | str], int] = {}
        self.tokens = dict.fromkeys(_CLASSES, 0)
        self.nanos_charged = 0
        self.first_event = _Spread(SECONDS)
        self.total = _Spread(SECONDS)
        self.estimate = _Spread(RATIOS)
        self.errors = {(of, known): _Spread(ERRORS) for of in ("charge", "input") for known in (False, True)}

    def finished(self, record: CallRecord) -> None:
        end = (record.status, record.outcome or ("replayed" if record.replayed else "refused"))
        self.requests[end] = self.requests.get(end, 0) + 1
        self.total.observe(record.total_ms / 1_000)
        if record.first_event_ms is not None:
            self.first_event.observe(record.first_event_ms / 1_000)
        if record.charged:
            self._count(record.usage)
            self.nanos_charged += record.charged
            if record.estimated:
                self.estimate.observe(record.estimated / record.charged)
                if record.outcome is Outcome.OK:  # Of a cut call the estimate is of more than there is.
                    self._err("charge", record, record.estimated, record.charged)
                if record.input_charged:
                    self._err("input", record, record.input_estimated, record.input_charged)

    def _err(self, of: str, record: CallRecord, estimated: int, charged: int) -> None:
        self.errors[of, record.known_prefix].observe(abs(estimated - charged) / charged)

    def _count(self, usage: Usage) -> None:
        tokens = self.tokens
        tokens["input"] += usage.input
        tokens["output"] += usage.output
        if usage.input_total != usage.input:
            tokens["cache_read"] += usage.cache_read
            tokens["cache_write_5m"] += usage.cache_write_5m
            tokens["cache_write_1h"] += usage.cache_write_1h


class _Spread:
    """A histogram: how many values were up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        buckets, below = [], 0
        for bound, count in zip((*map(float, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            buckets.append((str(bound), below))
        family.add_metric(labels, buckets, self._sum)
