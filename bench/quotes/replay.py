"""The road of a call without its sockets: decode, admit, quote, and learn from what an upstream would have counted.

The rule: everything between the bytes of the body and the charge is the shipped code; only keys, ledger and upstream
are left out, which a quote does not ask. Calls of all keys are mixed, on a clock of their own.
"""

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec

from bench.quotes.figures import Sample
from bench.quotes.tokenizers import Tokenizer
from bench.quotes.traffic import HABITS, Call, Caller, read_texts
from bench.quotes.truth import Truth
from faregate.core.access import Key
from faregate.core.estimate import Estimator
from faregate.core.ledger import Outcome
from faregate.core.money import ZERO, Nanos
from faregate.core.pricing import in_force
from faregate.core.routing import Routes
from faregate.proxy import entry
from faregate.proxy.fare import Fare, appraise
from faregate.proxy.port import Gateway
from faregate.proxy.record import CallRecord
from faregate.shipped import load_catalog
from faregate.telemetry import Telemetry

START_MS: Final = 1_800_000_000_000
CALLS_OF_A_KEY: Final = 150
FORGET_EVERY: Final = 5_000
PROGRESS_EVERY: Final = 5_000


class Still:
    """A caller without headers."""

    request_id = "req_replay"

    def header(self, name: bytes) -> str | None:
        """None was sent."""


class Replay:
    def __init__(self, tokenizers: Sequence[Tokenizer], *, seed: int, requests: int, telemetry: Telemetry) -> None:
        self._requests = requests
        self._rng = random.Random(seed)
        self._telemetry = telemetry
        self._catalog = load_catalog()
        self._now_ms = START_MS
        self._doors = {model.id: tokenizer for model, tokenizer in zip(
            self._catalog.models(), tokenizers, strict=False
        )}  # fmt: skip
        self._truths = {
            model.id: Truth(self._doors[model.id], model.image_tokens_max)
            for model in self._catalog.models()
            if model.id in self._doors
        }
        self._gate = cast(Gateway, _Gate(self._catalog, lambda: self._now_ms))

    def run(self, progress: Callable[[int], None]) -> Iterator[Sample]:
        """Every call, in the order of its time."""
        texts = read_texts()
        models = list(self._doors)
        count = max(len(HABITS) * len(models), self._requests // CALLS_OF_A_KEY)
        waiting = []
        for number in range(count):
            habit, model = HABITS[number % len(HABITS)], models[number // len(HABITS) % len(models)]
            caller = Caller(f"key-{number}", habit, model, texts, random.Random(self._rng.random()))
            waiting.append((START_MS + self._rng.randrange(60_000), number, 1, caller))
        heapq.heapify(waiting)
        for done in range(1, self._requests + 1):
            self._now_ms, number, turn, caller = heapq.heappop(waiting)
            yield self._serve(caller, caller.call(), turn)
            pause = round(caller.pause_ms * self._rng.uniform(0.5, 1.5))
            if self._rng.random() < 0.02:
                pause += 600_000
            heapq.heappush(waiting, (self._now_ms + pause, number, turn + 1, caller))
            if done % PROGRESS_EVERY == 0:
                progress(done)
            if done % FORGET_EVERY == 0:
                for truth in self._truths.values():
                    truth.forget(self._now_ms)

    def _serve(self, caller: Caller, call: Call, turn: int) -> Sample:
        """One call: quote it, let upstream count, charge, and learn."""
        document = entry.read(msgspec.json.encode(call.document))
        model = self._catalog.find(caller.model)
        assert model is not None
        key = cast(Key, _Key(id=caller.name, wallet_id=f"wallet of {caller.name}"))
        fare = appraise(self._gate, key, document, model, cast(Any, Still()))
        meter = fare.meter()
        counted = self._truths[model.id].usage(call.document, caller.name, self._now_ms)
        meter.start(counted)
        meter.delta({"output_tokens": min(call.output, call.document["max_tokens"])})
        meter.stop()
        reading = meter.close()
        fare.learn(self._gate, reading, finished=True)
        price = fare.quote.price
        cost, output = price.cost(reading.usage), reading.usage.output * price.output
        self._told(fare, cost, reading.usage)
        return Sample(
            door=f"replay {self._doors[model.id].name}", habit=call.habit, turn=turn, seen=call.seen,
            ceiling=fare.quote.ceiling, cost=cost, estimated=fare.quote.estimated,
            input_cost=cost - output, input_estimated=fare.quote.input_estimated,
            tokens=reading.usage.input_total, tokens_estimated=fare.quote.guess.input_tokens,
        )  # fmt: skip

    def _told(self, fare: Fare, cost: Nanos, usage: Any) -> None:
        price, quote = fare.quote.price, fare.quote
        self._telemetry.finished(CallRecord(
            request_id="req_replay", model=fare.admitted.model.id, status=200, outcome=Outcome.OK, usage=usage,
            charged=cost, held=ZERO, estimated=quote.estimated, total_ms=1.0,
            input_charged=Nanos(cost - usage.output * price.output), input_estimated=quote.input_estimated,
            known_prefix=quote.guess.known,
        ))  # fmt: skip


class _Key(msgspec.Struct):
    id: str
    wallet_id: str


class _Gate:
    """What appraising and learning ask of a gateway."""

    def __init__(self, catalog: Any, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.estimator = Estimator()
        self.prices = self
        self.routes = Routes([])
        self._catalog = catalog

    def price(self, model: str, now_ms: int) -> Any:
        return in_force(self._catalog.find(model).prices, now_ms)
