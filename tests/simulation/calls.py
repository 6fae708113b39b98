"""What the simulated callers ask, and how they behave while they wait: drawn from a seed, before anything runs.

draw(chance, number, keys) -> Call
"""

import json
import random
from typing import Any, Final, NamedTuple

HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-4-6"


class Call(NamedTuple):
    """One request, and its caller's manners."""

    number: int
    stream: bool
    secret: str
    """The key, written out."""
    key_id: str
    body: bytes
    headers: dict[bytes, str]
    body_s: float
    """How long the body takes to come."""
    leaves: str | None
    """When the caller hangs up: body, at (so many seconds after), send (at the k-th part), end (before the last)."""
    leaves_at: float
    pace_s: float
    """How long the caller takes to read each part."""
    stalls_at: int | None
    """From which part on the caller reads nothing more."""
    good: bool
    """Whether the body is one that the gateway takes."""


BAD: Final[tuple[bytes, ...]] = (
    b"", b"{", b"[]", b"\xff", b'{"model":"claude-haiku-4-5"}', b'{"model":"nobody","max_tokens":5,"messages":[]}',
    b'{"model":"claude-haiku-4-5","max_tokens":9000,"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"x"}],"mcp_servers":[]}',
    b'{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"x"}],"nonsense":1}',
)  # fmt: skip


def draw(chance: random.Random, number: int, keys: list[tuple[str, str]]) -> Call:
    """The next call, with one of these keys (id, written out)."""
    key_id, secret = chance.choice(keys)
    if chance.random() < 0.02:
        secret = chance.choice(("", "sk-fare-nobody", secret[:-1]))
    stream = chance.random() < 0.7
    good = chance.random() > 0.03
    leaves, leaves_at = _leaving(chance)
    return Call(
        number=number,
        stream=stream,
        secret=secret,
        key_id=key_id,
        body=_body(chance, number, stream=stream) if good else chance.choice(BAD),
        headers=_headers(chance, number),
        body_s=chance.choice((0.0, 0.0, 0.0, 0.05, 3.0, 61.0)) if chance.random() < 0.1 else 0.0,
        leaves=leaves,
        leaves_at=leaves_at,
        pace_s=chance.choice((0.01, 1.0, 11.0)) if chance.random() < 0.1 else 0.0,
        stalls_at=chance.randrange(0, 12) if chance.random() < 0.01 else None,
        good=good,
    )


def again(call: Call, number: int, chance: random.Random) -> Call:
    """The same call, sent once more: with the same body and idempotency key, by a caller with other manners."""
    leaves, leaves_at = _leaving(chance)
    body = call.body if chance.random() > 0.05 else _body(chance, number, stream=call.stream)
    return call._replace(number=number, body=body, leaves=leaves, leaves_at=leaves_at, stalls_at=None, body_s=0.0)


def _leaving(chance: random.Random) -> tuple[str | None, float]:
    roll = chance.random()
    if roll < 0.72:
        return None, 0.0
    if roll < 0.73:
        return "body", 0.0
    if roll < 0.85:
        return "at", chance.random() * chance.choice((0.01, 0.1, 1.0, 10.0, 100.0))
    if roll < 0.97:
        return "send", float(chance.choice((0, 0, 1, 1, 2, 4, 8)))
    return "end", 0.0


def _body(chance: random.Random, number: int, *, stream: bool) -> bytes:
    text = f"call {number} " + "words " * chance.choice((0, 3, 20, 80))
    content: Any = text
    roll = chance.random()
    if roll < 0.1:
        mark = {"type": "ephemeral"} if roll < 0.06 else {"type": "ephemeral", "ttl": "1h"}
        content = [{"type": "text", "text": text, "cache_control": mark}]
    document: dict[str, Any] = {
        "model": HAIKU if chance.random() < 0.65 else SONNET,
        "max_tokens": chance.choice((0, 1, 20, 100, 300, 1_000, 8_192)),
        "messages": [{"role": "user", "content": content}],
    }
    if document["max_tokens"] == 0 and stream:
        document["max_tokens"] = 1
    if stream or chance.random() < 0.1:
        document["stream"] = stream
    if chance.random() < 0.1:
        document["system"] = "You are a gate. " * chance.choice((1, 100))
    if chance.random() < 0.1:
        document["tools"] = [{"name": "n", "input_schema": {"type": "object"}}]
    if chance.random() < 0.05:
        document["speed"] = "fast"
    return json.dumps(document).encode()


def _headers(chance: random.Random, number: int) -> dict[bytes, str]:
    headers: dict[bytes, str] = {}
    roll = chance.random()
    if roll < 0.25:
        headers[b"idempotency-key"] = f"once-{number}"
    if 0.2 < roll < 0.3:
        headers[b"x-credits-on-shortfall"] = "refuse" if roll < 0.28 else "clamp"
    if roll > 0.93:
        headers[b"x-credits-limit"] = chance.choice(("0", "5", "500", "40000", "many"))
    return headers
