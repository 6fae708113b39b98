"""The story of a batch, up to where it is held: every request is judged and quoted as a call of its own would be.

    authenticate -> cut -> of each: decode, find the model, admit, quote -> hold all of it, or none

The rule: a batch is made whole or not at all, and says of the first request that is wrong what its own call would have
been told, with `requests.N.params` before the path. Between two requests it is the turn of the calls.
"""

import asyncio
import hashlib
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

import msgspec

from faregate.core import batch as rules
from faregate.core.access import Key
from faregate.core.admission import refusal
from faregate.core.batch import Batch, BatchState, half
from faregate.core.batch_commands import NewBatch, NewRequest
from faregate.core.errors import GatewayError, InvalidRequest, PaymentRequired
from faregate.core.money import Nanos, show_credits
from faregate.proxy import entry
from faregate.proxy.fare import Fare, appraise, credit_limit, dialect
from faregate.proxy.port import Asker, Gateway, Headers
from faregate.store.port import Batches
from faregate.wire.batch import cut
from faregate.wire.shape import Malformed

PARAMS_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of one request: as much as a call's body may be."""


class Made(msgspec.Struct, frozen=True):
    """A batch that is held."""

    batch: Batch
    headers: Headers
    """Its quote, under the names that a call's has."""


class Bounds(Protocol):
    """What a wallet may have waiting in all of its batches: requests, and bytes of them."""

    @property
    def waiting_max(self) -> int: ...
    @property
    def waiting_bytes_max(self) -> int: ...


class Turns:
    """Of each wallet one batch at a time is read and judged: a batch is large, and its key's rates do not bound it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, wallet_id: str) -> asyncio.Lock:
        """What to hold from before its body is read until it is made."""
        return self._locks.setdefault(wallet_id, asyncio.Lock())


async def create(gate: Gateway, batches: Batches, caller: Asker, turns: Turns, *, bounds: Bounds) -> Made:
    """Make a batch. Raises what a call would, and PaymentRequired when the wallet does not cover all of it."""
    key = await entry.authenticate(gate, caller)
    limit = credit_limit(caller)
    if caller.header(b"idempotency-key") is not None:
        # Whoever sends one relies on it: it is refused rather than ignored, for ignoring it may bill twice.
        raise InvalidRequest(
            "idempotency-key: a batch takes none, and a repeat would make a second one. Leave it out; before you "
            "repeat a batch, look for it in GET /v1/messages/batches.",
        )
    async with turns.of(key.wallet_id):
        return await _create(gate, batches, caller, key, limit=limit, bounds=bounds)


async def _create(
    gate: Gateway, batches: Batches, caller: Asker, key: Key, *, limit: Nanos | None, bounds: Bounds
) -> Made:
    body = await caller.body()
    await gate.prices.current()
    try:
        cuts = cut(body)
    except Malformed as error:
        raise refusal(error) from None
    del body
    now_ms = gate.now_ms()
    requests = [await _quoted(gate, key, caller, number, one) for number, one in enumerate(cuts)]
    ceiling = Nanos(sum(request.held for request in requests))
    if limit is not None and ceiling > limit:
        raise await _above_limit(gate, key, ceiling, limit)
    version, beta = dialect(caller)
    new = NewBatch(
        id=gate.new_id("msgbatch_"),
        wallet_id=key.wallet_id,
        key_id=key.id,
        request_id=caller.request_id,
        version=version,
        beta=beta,
        total=len(requests),
        waiting_max=bounds.waiting_max,
        waiting_bytes_max=bounds.waiting_bytes_max,
        ceiling=ceiling,
        abandon_budget=gate.abandon_budget,
        at_ms=now_ms,
        expires_at_ms=now_ms + rules.LIFE_MS,
    )
    available = await batches.make(new, requests)
    estimated = sum(request.estimated for request in requests)
    return Made(
        Batch(
            wallet_id=new.wallet_id,
            id=new.id,
            state=BatchState.IN_PROGRESS,
            total=new.total,
            created_at_ms=now_ms,
            expires_at_ms=new.expires_at_ms,
        ),
        [
            (b"x-credits-max", show_credits(ceiling).encode()),
            (b"x-credits-estimated", show_credits(estimated).encode()),
            (b"x-credits-remaining", show_credits(available).encode()),
        ],
    )


async def _quoted(gate: Gateway, key: Key, caller: Asker, number: int, one: tuple[str, bytes]) -> NewRequest:
    await asyncio.sleep(0)
    custom_id, params = one
    try:
        fare = _appraised(gate, key, caller, params)
    except GatewayError as error:
        raise rules.within(error, number) from None
    return NewRequest(
        number=number,
        custom_id=custom_id,
        charge_id=gate.new_id("msg_"),
        model=fare.admitted.model.id,
        price_id=fare.quote.price.id,
        params=params,
        body_sha256=hashlib.sha256(fare.body).digest(),
        held=half(fare.quote.ceiling),
        estimated=half(fare.quote.estimated),
    )


def _appraised(gate: Gateway, key: Key, caller: Asker, params: bytes) -> Fare:
    if len(params) > PARAMS_BYTES_MAX:
        raise InvalidRequest(f"it has {len(params)} bytes, and one request may have {PARAMS_BYTES_MAX}")
    document = entry.read(params)
    if document.get("stream"):
        # Judged by itself: what is not a boolean is named as such below.
        _refuse_stream(document["stream"])
    return appraise(gate, key, document, entry.find_model(gate, key, document), caller)


def _refuse_stream(value: Any) -> None:
    if value is True:
        raise InvalidRequest(
            "stream: a batch's answers are not streamed; leave it out", details={"parameter": "stream"}
        )


async def _above_limit(gate: Gateway, key: Key, ceiling: Nanos, limit: Nanos) -> PaymentRequired:
    wallet = await gate.records.wallet(key.wallet_id)
    return PaymentRequired(
        f"x-credits-limit: this batch may cost up to {show_credits(ceiling)} credits, above your limit of "
        f"{show_credits(limit)}. Raise the limit, lower max_tokens, or send fewer requests.",
        code="credit_limit_exceeded",
        details={
            "required": show_credits(ceiling),
            "limit": show_credits(limit),
            "available": show_credits(wallet.available if wallet is not None else 0),
        },
    )
