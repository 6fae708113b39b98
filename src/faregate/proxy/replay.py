"""The answer of a call with an Idempotency-Key: copied as it goes to its caller, given again to who repeats the call.

The rule: what is given again is what was given, byte for byte; nothing is held, sent upstream or billed for it. Only
what a header says of the moment (credits remaining, rates) is not repeated, but true for now or left out.

    Copy ── settled ok, within keeping.bytes_max ──> kept with the settle ──> give_again
      └──── anything else ───────────────────────> nothing: a repeat gets the receipt
"""

from typing import Final

from faregate.core.access import Key
from faregate.core.errors import Repeated
from faregate.core.ledger import Answer
from faregate.core.money import Nanos, show_credits
from faregate.proxy.port import Caller, Gateway, Headers, Keeping

OF_THE_MOMENT: Final = (b"x-credits-remaining", b"x-quota-remaining-credits", b"anthropic-ratelimit-")

REPLAYED: Final = (b"idempotent-replayed", b"true")
"""As Stripe's API names it."""


class Copy:
    """One answer in the making. What outgrows the bound is dropped at once: a copy never holds more than that."""

    def __init__(self, keeping: Keeping, headers: Headers, *, stream: bool) -> None:
        self._keeping = keeping
        self._headers = headers
        self._stream = stream
        self._pieces: list[bytes] | None = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Another piece goes to the caller."""
        self._size += len(data)
        if self._size > self._keeping.bytes_max:
            self._pieces = None
        elif self._pieces is not None:
            self._pieces.append(data)

    def answer(self, charged: Nanos, at_ms: int) -> Answer | None:
        """The whole of it; None when it is too large to keep."""
        if self._pieces is None:
            return None
        headers = [header for header in self._headers if not header[0].startswith(OF_THE_MOMENT)]
        if not self._stream:
            headers.append(charged_header(charged))
        return Answer(
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
            body=b"".join(self._pieces),
            kept_until_ms=at_ms + self._keeping.kept_ms,
        )


def charged_header(charged: Nanos) -> tuple[bytes, bytes]:
    """What a plain answer says beside the quote: its exact charge."""
    return b"x-credits-charged", _credits(charged)


async def kept(gate: Gateway, key: Key, repeated: Repeated) -> Answer | None:
    """The answer of the call that is repeated, where there is one. Raises NotReady."""
    if not gate.keeping.kept_ms:
        return None
    return await gate.records.answer(key.wallet_id, repeated.charge_id, gate.now_ms())


async def give_again(gate: Gateway, caller: Caller, key: Key, answer: Answer, *, stream: bool) -> None:
    """Answer a repeat with what is kept. Raises NotReady before the first byte."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers += [REPLAYED, *await _moment(gate, key)]
    if stream:
        await caller.start(headers)
        await caller.end(answer.body)
    else:
        await caller.answer(200, headers, answer.body)


async def _moment(gate: Gateway, key: Key) -> Headers:
    wallet = await gate.records.wallet(key.wallet_id)
    assert wallet is not None, "a wallet whose key was just judged"
    headers = [(b"x-credits-remaining", _credits(wallet.available))]
    if key.quota is not None:
        left = await gate.records.spent(key, gate.now_ms())
        headers.append((b"x-quota-remaining-credits", _credits(left["quota"])))
    return headers


def _credits(nanos: int) -> bytes:
    return show_credits(nanos).encode()
