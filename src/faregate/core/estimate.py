"""The estimate: what a call will probably use, learnt from the calls before it.

Two things are remembered, both bounded. For each key and model: how many tokens its bytes come to, by the size of the
prompt, and how long its answers are. For each wallet: the prompts it has sent, by digest, with their true tokens and
what of them is still warm in upstream's cache - so the growing prefix of an agent loop is counted, not guessed.

An estimate is never a price and never a bound: the ceiling of `quote` is both. Floats are at home here.

    prefixes(document) ── digests ──> Estimator.guess ──> Guess      before the call
                       └────────────> Estimator.learn(usage)         after it
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from faregate.wire.usage import Usage

TOKENS_PER_BYTE: Final = 0.28
"""English, code and JSON lie between 0.2 and 0.35 tokens a byte: where to begin with a key that has no history."""

TOKENS_PER_BYTE_MAX: Final = 1.0
"""A byte-level tokenizer makes no more. A count above it says nothing of the text: content was reached that is in no
byte of the body, or upstream's count was wrong."""

OUTPUT_TOKENS: Final = 256
"""A typical answer, before a key has shown its own."""

SMOOTHING: Final = 0.3
"""The weight of the newest call: some ten calls make a key's history."""

KEYS_MAX: Final = 20_000
PROMPTS_MAX: Final = 50_000
PREFIX_BYTES_MIN: Final = 1_024
"""Shorter prompts are not remembered: their tokens are few, and no upstream caches them."""
MESSAGES_MAX: Final = 512
"""How many message boundaries of one prompt are tried as a known prefix."""

WARM_MS: Final = {"5m": 300_000, "1h": 3_600_000}
BILLING_HEADER: Final = "x-anthropic-billing-header"
"""A system text that begins so changes with each prompt and is not part of any prefix."""


class Prefix(msgspec.Struct, frozen=True):
    digest: bytes
    bytes: int
    """How much of the prompt it covers."""
    ttl: str | None
    """"5m" or "1h" where a cache mark ends here."""


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    usage: Usage

    @property
    def input_tokens(self) -> int:
        """All input, cached or not."""
        return self.usage.input_total


class _Key(msgspec.Struct):
    ratios: dict[int, float]
    """Tokens per byte by the bit length of the prompt's bytes: a fixed part weighs more in a short prompt."""
    output: float | None


class _Prompt(msgspec.Struct):
    tokens: int | None
    cached: int
    warm_until_ms: int


class Estimator:
    """What this process has learnt. Starting again starts anew, which costs a few wide estimates and no money."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, str], _Key] = OrderedDict()
        self._prompts: OrderedDict[bytes, _Prompt] = OrderedDict()

    def guess(
        self, key_id: str, model: str, *, text_bytes: int, media_tokens: int, max_tokens: int,
        prefixes: Sequence[Prefix], now_ms: int, tokens_max: int | None = None,
    ) -> Guess:  # fmt: skip
        """Guess a call's usage. `text_bytes` excludes media, whose tokens come apart.

        `tokens_max` is what the input can come to at most: what was learnt never makes a guess that cannot be true.
        """
        known = self._keys.get((key_id, model))
        ratio = _ratio(known, text_bytes)
        total = round(text_bytes * ratio) + media_tokens
        for prefix in reversed(prefixes):
            prompt = self._prompts.get(prefix.digest)
            if prompt is not None and prompt.tokens is not None:
                total = prompt.tokens + round(max(0, text_bytes - prefix.bytes) * ratio)
                break
        if tokens_max is not None:
            total = min(total, tokens_max)
        output = min(max_tokens, OUTPUT_TOKENS if known is None or known.output is None else round(known.output))
        return Guess(usage=self._cached(total, text_bytes, prefixes, now_ms, output))

    def learn(
        self, key_id: str, model: str, *, text_bytes: int, media_tokens: int, prefixes: Sequence[Prefix],
        usage: Usage, finished: bool, now_ms: int,
    ) -> None:  # fmt: skip
        """Take in what upstream said a call used. A cut answer (`finished` false) says nothing of typical output."""
        known = self._keys.setdefault((key_id, model), _Key({}, None))
        total = usage.input_total
        ratio = (total - media_tokens) / max(1, text_bytes)
        if 0 < ratio <= TOKENS_PER_BYTE_MAX:
            size = text_bytes.bit_length()
            known.ratios[size] = _blend(known.ratios.get(size), ratio)
        if finished:
            known.output = _blend(known.output, usage.output)
        _bound(self._keys, (key_id, model), KEYS_MAX)
        self._remember(prefixes, total, usage, now_ms)

    def _cached(self, total: int, text_bytes: int, prefixes: Sequence[Prefix], now_ms: int, output: int) -> Usage:
        """Divide the input into what is read from the cache, written to it, and neither."""
        marks = [prefix for prefix in prefixes if prefix.ttl is not None]
        read = 0
        for mark in reversed(marks):
            prompt = self._prompts.get(mark.digest)
            if prompt is not None and prompt.warm_until_ms > now_ms:
                read = min(prompt.cached, total)
                break
        if not marks:
            return Usage(input=total, output=output)
        last = marks[-1]
        covered = total if last.bytes >= text_bytes else round(total * last.bytes / max(1, text_bytes))
        written = max(0, min(covered, total) - read)
        return Usage(
            input=total - read - written,
            cache_read=read,
            cache_write_5m=written if last.ttl == "5m" else 0,
            cache_write_1h=written if last.ttl == "1h" else 0,
            output=output,
        )

    def _remember(self, prefixes: Sequence[Prefix], total: int, usage: Usage, now_ms: int) -> None:
        if not prefixes:
            return
        whole = self._prompts.setdefault(prefixes[-1].digest, _Prompt(None, 0, 0))
        whole.tokens = total
        cached = usage.cache_read + usage.cache_write_5m + usage.cache_write_1h
        marks = [prefix for prefix in prefixes if prefix.ttl is not None]
        if marks and cached:
            prompt = self._prompts.setdefault(marks[-1].digest, _Prompt(None, 0, 0))
            prompt.cached = cached
            prompt.warm_until_ms = now_ms + WARM_MS[marks[-1].ttl or "5m"]
            _bound(self._prompts, marks[-1].digest, PROMPTS_MAX)
        _bound(self._prompts, prefixes[-1].digest, PROMPTS_MAX)


def prefixes(document: Mapping[str, Any], *, namespace: str) -> list[Prefix]:
    """The prompt's own boundaries in the order that caches see them: tools, system, then message by message.

    Two tenants never share one: `namespace` (wallet and model) is part of every digest. Cache marks are left out, for
    they wander from call to call while the prompt stays.
    """
    walk = _Walk(namespace)
    tools = document.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        walk.block(tool)
    walk.content(document.get("system"), is_system=True)
    messages = document["messages"]
    first = len(messages) - MESSAGES_MAX
    for index, message in enumerate(messages):
        walk.add(str(message.get("role")).encode())
        walk.content(message.get("content"))
        if index >= first:
            walk.boundary(None)
    top = document.get("cache_control")
    if isinstance(top, dict):
        walk.boundary(top.get("ttl", "5m"))
    return walk.found


class _Walk:
    def __init__(self, namespace: str) -> None:
        self._hash = hashlib.blake2b(namespace.encode(), digest_size=16)
        self._bytes = 0
        self.found: list[Prefix] = []

    def add(self, data: bytes) -> None:
        self._hash.update(b"%d:" % len(data))
        self._hash.update(data)
        self._bytes += len(data)

    def content(self, content: Any, *, is_system: bool = False) -> None:
        if isinstance(content, str):
            self.add(content.encode(errors="replace"))
        elif isinstance(content, list):
            for index, block in enumerate(content):
                text = block.get("text") if isinstance(block, dict) else None
                if is_system and index == 0 and isinstance(text, str) and text.startswith(BILLING_HEADER):
                    continue
                self.block(block)

    def block(self, block: Any) -> None:
        if not isinstance(block, dict):
            return
        mark = block.get("cache_control")
        if mark is not None:
            block = {name: value for name, value in block.items() if name != "cache_control"}
        # A text block and the bare string are one prompt, and SDK users change from one to the other to set a mark.
        if block.get("type") == "text" and len(block) == 2:
            self.add(str(block.get("text")).encode(errors="replace"))
        else:
            self.add(msgspec.json.encode(block))
        if isinstance(mark, dict):
            self.boundary(mark.get("ttl", "5m"))

    def boundary(self, ttl: Any) -> None:
        self.found.append(Prefix(self._hash.digest(), self._bytes, ttl if ttl in WARM_MS else None))


def _ratio(known: _Key | None, text_bytes: int) -> float:
    if known is None or not known.ratios:
        return TOKENS_PER_BYTE
    size = text_bytes.bit_length()
    if (ratio := known.ratios.get(size)) is not None:
        return ratio
    nearest = min(known.ratios, key=lambda seen: abs(seen - size))
    ratio = known.ratios[nearest]
    # A short prompt is dense with what comes with each, as tools: that makes a long one neither dear nor too long.
    return ratio if size - nearest <= 1 else min(ratio, TOKENS_PER_BYTE)


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + SMOOTHING * (new - old)


def _bound(table: OrderedDict[Any, Any], newest: Any, most: int) -> None:
    table.move_to_end(newest)
    while len(table) > most:
        table.popitem(last=False)
