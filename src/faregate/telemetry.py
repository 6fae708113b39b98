"""What the operator sees of each call: figures for Prometheus, and one line in the log.

`finished(record)` is called once per request and is all that the hot path pays: label children are looked up in
plain dicts, and a log line whose level is off is not formatted. The registry is our own, so that nothing another
library registers is exported by accident, and two gateways in one process do not share figures.

    requests    by model, status, outcome      first event, total, added by us: seconds
    tokens      by model, class                estimate over charge: 1 is exact
    credits     charged, held                  committer: batch size and wait
    holds       open now                       upstream attempts by upstream, result
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from faregate.core.ledger import Outcome
from faregate.core.money import NANOS_PER_CREDIT
from faregate.logs import RequestLog
from faregate.proxy.record import CallRecord

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

LABELS_MAX: Final = 500
"""Values of a label that are kept. All are ours (catalog ids, configured names), so this is never met; if it were, a
scrape would still stay small, and the rest would be counted under `other`."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
ADDED_SECONDS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
RATIOS: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 4, 10)
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_CLASSES: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


class Telemetry:
    """The gateway's metrics, and its request log."""

    def __init__(self, log: RequestLog | None = None) -> None:
        self._log = log
        self._holds_open = 0
        self._nanos_held = 0
        self._models: dict[str | None, _ModelFigures] = {}
        self._attempt_children: dict[tuple[str, str], Counter] = {}
        self.registry = CollectorRegistry()
        self._build_call_metrics()
        self._build_process_metrics()

    def reserved(self, held: int) -> None:
        """A hold was taken; the record of the same call, with the same `held`, frees it."""
        self._holds_open += 1
        self._nanos_held += held

    def finished(self, record: CallRecord) -> None:
        """Count one request that has ended, and log it."""
        model = self._models.get(record.model) or self._model(record.model)
        model.request(record.status, record.outcome).inc()
        for attempt in record.attempts:
            self._attempt(attempt.upstream, attempt.error or "ok").inc()
        model.total.observe(record.total_ms / 1_000)
        if record.first_event_ms is not None:
            model.first_event.observe(record.first_event_ms / 1_000)
        if record.added_ms is not None:
            self._added.observe(record.added_ms / 1_000)
        if record.held:
            self._holds_open -= 1
            self._nanos_held -= record.held
        if record.charged:
            model.charge(record)
        if self._log is not None:
            self._log.request(record)

    def committed(self, commands: int, wait_s: float) -> None:
        """The store committed a batch; `wait_s` is how long its first command had waited. Safe from any thread."""
        self._batch.observe(commands)
        self._wait.observe(wait_s)

    def render(self) -> bytes:
        """The exposition that `/metrics` answers with, of type CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _model(self, model: str | None) -> "_ModelFigures":
        name = model or "unknown"
        if len(self._models) >= LABELS_MAX:
            name = "other"
        figures = _ModelFigures(self, name)
        if len(self._models) < LABELS_MAX:
            self._models[model] = figures
        return figures

    def _attempt(self, upstream: str, result: str) -> Counter:
        child = self._attempt_children.get((upstream, result))
        if child is None:
            crowded = len(self._attempt_children) >= LABELS_MAX
            labels = ("other", "other") if crowded else (upstream, result)
            child = self._attempt_children[labels] = self.attempts.labels(*labels)
        return child

    def _build_call_metrics(self) -> None:
        registry = self.registry
        self.requests = Counter(
            "faregate_requests", "Requests that ended.", ["model", "status", "outcome"], registry=registry
        )
        self.tokens = Counter("faregate_tokens", "Tokens charged, by class.", ["model", "class"], registry=registry)
        self.credits = Counter("faregate_credits_charged", "Credits charged.", ["model"], registry=registry)
        self.attempts = Counter(
            "faregate_upstream_attempts", "Tries at an upstream.", ["upstream", "result"], registry=registry
        )
        self.first_event = Histogram(
            "faregate_first_event_seconds", "Request to first event.", ["model"], registry=registry, buckets=SECONDS
        )
        self.total = Histogram(
            "faregate_request_seconds", "Request to its end.", ["model"], registry=registry, buckets=SECONDS
        )
        self._added = Histogram(
            "faregate_added_seconds", "What of a request was ours.", registry=registry, buckets=ADDED_SECONDS
        )
        self.estimate = Histogram(
            "faregate_estimate_ratio",
            "Estimated over charged credits; 1 is exact.",
            ["model"],
            registry=registry,
            buckets=RATIOS,
        )

    def _build_process_metrics(self) -> None:
        registry = self.registry
        self._batch = Histogram("faregate_commit_commands", "Commands in a commit.", registry=registry, buckets=BATCHES)
        self._wait = Histogram(
            "faregate_commit_wait_seconds",
            "From a batch's first command to its commit.",
            registry=registry,
            buckets=ADDED_SECONDS,
        )
        holds = Gauge("faregate_holds_open", "Holds that are open now.", registry=registry)
        holds.set_function(lambda: self._holds_open)
        held = Gauge("faregate_credits_held", "Credits held by open holds.", registry=registry)
        held.set_function(lambda: self._nanos_held / NANOS_PER_CREDIT)


class _ModelFigures:
    """The children of one model, looked up once: labels are the dearest part of a metric."""

    def __init__(self, telemetry: Telemetry, model: str) -> None:
        self.total = telemetry.total.labels(model)
        self.first_event = telemetry.first_event.labels(model)
        self._credits = telemetry.credits.labels(model)
        self._estimate = telemetry.estimate.labels(model)
        self._input, self._output, *self._cache = (telemetry.tokens.labels(model, name) for name in _CLASSES)
        self._requests: dict[tuple[int, Outcome | None], Counter] = {}
        self._requests_metric, self._name = telemetry.requests, model

    def request(self, status: int, outcome: Outcome | None) -> Counter:
        """Give the counter of this end. Statuses and outcomes are few, so these need no bound."""
        child = self._requests.get((status, outcome))
        if child is None:
            child = self._requests_metric.labels(self._name, str(status), outcome or "refused")
            self._requests[status, outcome] = child
        return child

    def charge(self, record: CallRecord) -> None:
        usage = record.usage
        self._credits.inc(record.charged / NANOS_PER_CREDIT)
        if usage.input:
            self._input.inc(usage.input)
        if usage.output:
            self._output.inc(usage.output)
        if usage.input_total != usage.input:
            for child, tokens in zip(
                self._cache, (usage.cache_read, usage.cache_write_5m, usage.cache_write_1h), strict=True
            ):
                child.inc(tokens)
        if record.estimated:
            self._estimate.observe(record.estimated / record.charged)
