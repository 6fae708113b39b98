"""The fare: a call that may be made, what it will cost at most, and what its caller is told of that beforehand.

appraise -> Fare        reservation() for the ledger, ask() for the upstream, headers() for the caller
"""

import hashlib
from typing import Any

import msgspec

from faregate.core import limits
from faregate.core.access import Key
from faregate.core.admission import Admitted, admit
from faregate.core.catalog import Model
from faregate.core.errors import InvalidRequest, NotFound
from faregate.core.ledger import Basis, Reserve
from faregate.core.meter import Meter, Reading
from faregate.core.money import Nanos, parse_credits, show_credits
from faregate.core.prompt import survey
from faregate.core.quote import Quote, above_limit, input_bound, quote
from faregate.proxy.hold import Hold
from faregate.proxy.port import Asker, Gateway, Headers
from faregate.upstreams.port import Ask, Upstream

DEFAULT_VERSION = "2023-06-01"
"""What a caller without `anthropic-version` gets: the version that every client before 2026-10-21 sends."""

IDEMPOTENCY_KEY_CHARS_MAX = 255


class Fare(msgspec.Struct, frozen=True, kw_only=True):
    """An admitted call with its quote."""

    key: Key
    admitted: Admitted
    asked_model: str
    """As the caller wrote it: an alias is echoed, never sent on."""
    version: str
    beta: str | None
    body: bytes
    """Our own serialisation of what was judged: upstream reads no other `max_tokens` than we hold for."""
    quote: Quote

    def reservation(self, gate: Gateway, caller: Asker) -> Reserve:
        """The hold to take. Raises InvalidRequest for a header that makes no sense."""
        quoted = self.quote
        return Reserve(
            charge_id=gate.new_id("msg_"),
            wallet_id=self.key.wallet_id,
            key_id=self.key.id,
            request_id=caller.request_id,
            model=self.admitted.model.id,
            price_id=quoted.price.id,
            body_sha256=hashlib.sha256(self.body).digest(),
            idempotency_key=idempotency_key(caller),
            input_ceiling=quoted.input_ceiling,
            output_price=quoted.price.output,
            max_tokens=quoted.max_tokens,
            min_tokens=quoted.min_tokens if clamps(caller) else quoted.max_tokens,
            estimated=quoted.estimated,
            input_tokens=quoted.guess.input_tokens,
            output_tokens=quoted.guess.usage.output,
            input_tokens_max=quoted.input_tokens_max,
            abandon_budget=gate.abandon_budget,
            at_ms=gate.now_ms(),
        )

    def ask(self, max_tokens: int) -> Ask:
        """The call as it goes upstream, with the output cap that is held for."""
        document, body = self.admitted.document, self.body
        if max_tokens != self.admitted.max_tokens:
            document = {**document, "max_tokens": max_tokens}
            body = msgspec.json.encode(document)
        return Ask(
            document=document,
            body=body,
            model=self.admitted.model.id,
            stream=self.admitted.stream,
            version=self.version,
            beta=self.beta,
            wallet_id=self.key.wallet_id,
            input_guess=self.quote.guess.input_tokens,
        )

    def meter(self) -> Meter:
        """A meter for one attempt at this call."""
        admitted = self.admitted
        only_hours = admitted.cache_1h and not admitted.cache_5m
        return Meter(input_guess=self.quote.guess.input_tokens, unsplit_1h=only_hours)

    def headers(self, gate: Gateway, held: Hold, upstream: Upstream) -> Headers:
        """What every 2xx answer carries, before the first event."""
        _, estimated = self.quote.fit(held.max_tokens)
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8" if self.admitted.stream else b"application/json"),
            (b"x-credits-max", show_credits(held.held).encode()),
            (b"x-credits-estimated", show_credits(estimated).encode()),
            (b"x-credits-input", show_credits(self.quote.input_estimated).encode()),
            (b"x-credits-remaining", show_credits(held.available).encode()),
            (b"x-max-tokens-effective", b"%d" % held.max_tokens),
            (b"x-price-version", self.quote.price.id.encode()),
        ]
        if held.quota_available is not None:
            headers.append((b"x-quota-remaining-credits", show_credits(held.quota_available).encode()))
        if upstream.embedded:
            headers.append((b"x-faregate-upstream", upstream.name.encode()))
        if self.admitted.dropped:
            headers.append((b"x-dropped-parameters", ", ".join(self.admitted.dropped).encode()))
        return headers + limits.headers(held.rates, gate.now_ms())

    def learn(self, gate: Gateway, reading: Reading, *, finished: bool) -> None:
        """Let the estimator have what upstream said; what we only counted teaches nothing."""
        if reading.basis is Basis.UPSTREAM:
            gate.estimator.learn(
                self.key.id, self.admitted.model.id, self.quote.guess,
                usage=reading.usage, finished=finished, now_ms=gate.now_ms(),
            )  # fmt: skip


def appraise(gate: Gateway, key: Key, document: dict[str, Any], model: Model, caller: Asker) -> Fare:
    """Judge the call by the catalog and quote it. Raises InvalidRequest, Unsupported or NotFound."""
    now_ms = gate.now_ms()
    price = gate.prices.price(model.id, now_ms)
    if price is None:
        raise NotFound(f"model: {model.id} has no price in force yet", code="model_not_found")
    version, beta = dialect(caller)
    admitted = admit({**document, "model": model.id}, model, version, beta=beta is not None)
    body = msgspec.json.encode(admitted.document)
    prompt = survey(admitted.document, namespace=f"{key.wallet_id}/{model.id}", image_tokens_max=model.image_tokens_max)
    guess = gate.estimator.guess(
        key.id, model.id, prompt, max_tokens=admitted.max_tokens, now_ms=now_ms, tokens_max=input_bound(admitted, body)
    )
    return Fare(
        key=key,
        admitted=admitted,
        asked_model=document["model"],
        version=version,
        beta=beta,
        body=body,
        quote=quote(admitted, body, price, guess),
    )


def dialect(caller: Asker) -> tuple[str, str | None]:
    """Which API the caller speaks: `anthropic-version`, and its betas where it has any."""
    return caller.header(b"anthropic-version") or DEFAULT_VERSION, caller.header(b"anthropic-beta")


async def within_credit_limit(gate: Gateway, fare: Fare, caller: Asker) -> None:
    """Hold a call to its caller's own limit, where there is one. Raises PaymentRequired."""
    limit = credit_limit(caller)
    if limit is not None and fare.quote.ceiling > limit:
        wallet = await gate.records.wallet(fare.key.wallet_id)
        raise above_limit(fare.quote, limit, available=wallet.available if wallet is not None else 0)


def credit_limit(caller: Asker) -> Nanos | None:
    """`x-credits-limit`. Raises InvalidRequest when it is not an amount."""
    text = caller.header(b"x-credits-limit")
    if text is None:
        return None
    try:
        limit = parse_credits(text)
    except ValueError as error:
        raise InvalidRequest(f"x-credits-limit: {error}") from None
    if limit < 0:
        raise InvalidRequest("x-credits-limit: an amount of credits is not negative")
    return limit


def clamps(caller: Asker) -> bool:
    """`x-credits-on-shortfall`: whether fewer output tokens will do. Raises InvalidRequest on another word."""
    word = (caller.header(b"x-credits-on-shortfall") or "clamp").strip().lower()
    if word not in ("clamp", "refuse"):
        raise InvalidRequest("x-credits-on-shortfall: Input should be 'clamp' or 'refuse'")
    return word == "clamp"


def idempotency_key(caller: Asker) -> str | None:
    """`Idempotency-Key`. Raises InvalidRequest."""
    key = caller.header(b"idempotency-key")
    if key is None:
        return None
    # Two clients write a letter beyond ASCII in two ways, and a repeat that looked the same would be billed again.
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        allowed = f"1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters"
        raise InvalidRequest(f"idempotency-key: Input should be one header of {allowed}")
    return key
