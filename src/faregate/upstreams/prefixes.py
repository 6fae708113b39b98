"""The prompt cache that the scripted upstream pretends to have.

One rule: usage is split into disjoint classes whose sum is the same whether the cache was warm or cold.

    tools, system, messages ──> blocks in the order in which a prompt is rendered
    longest known prefix, up to the last mark ──> read;  from there to each mark ──> written;  the rest ──> input
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

MEDIA_TOKENS: Final = 1_500
PREFIXES_MAX: Final = 4_096
TTL_S: Final = {"5m": 300.0, "1h": 3_600.0}


class Prefixes:
    def __init__(self) -> None:
        self._expiry: dict[bytes, tuple[float, str]] = {}
        """Digest of a prefix -> when it is forgotten, and its ttl."""

    def usage(self, document: dict[str, Any], now: float) -> dict[str, Any]:
        """The input side of a usage object. What is marked is remembered from now on."""
        blocks = list(_blocks(document))
        marks = _marks(document, blocks)
        sizes = [_tokens(block) for block in blocks]
        if not marks:
            return usage_of(sum(sizes), 0, {"5m": 0, "1h": 0})
        last = max(marks)
        digests = _digests(document, blocks[: last + 1])
        warm = max((index for index in range(last + 1) if self._warm(digests[index], now)), default=-1)
        written, start = {"5m": 0, "1h": 0}, warm + 1
        for index, ttl in sorted(marks.items()):
            if index >= start:
                written[ttl] += sum(sizes[start : index + 1])
                start = index + 1
            self._remember(digests[index], now, ttl)
        return usage_of(sum(sizes[last + 1 :]), sum(sizes[: warm + 1]), written)

    def _warm(self, digest: bytes, now: float) -> bool:
        """A prefix that is read lives on for another ttl."""
        expiry, ttl = self._expiry.get(digest, (0.0, "5m"))
        if expiry <= now:
            return False
        self._remember(digest, now, ttl)
        return True

    def _remember(self, digest: bytes, now: float, ttl: str) -> None:
        self._expiry.pop(digest, None)
        if len(self._expiry) >= PREFIXES_MAX:
            del self._expiry[next(iter(self._expiry))]
        self._expiry[digest] = (now + TTL_S[ttl], ttl)


def tokens_in(document: dict[str, Any]) -> int:
    """The whole input, as count_tokens has it."""
    return sum(_tokens(block) for block in _blocks(document))


def usage_of(plain: int, read: int, written: dict[str, int]) -> dict[str, Any]:
    """An input as an answer's usage tells it; `written` by ttl."""
    return {
        "input_tokens": plain,
        "cache_creation_input_tokens": sum(written.values()),
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written["5m"],
            "ephemeral_1h_input_tokens": written["1h"],
        },
    }


def _blocks(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from document.get("tools") or []
    system = document.get("system")
    if system:
        yield from _of_content(system)
    for message in document.get("messages") or []:
        yield from _of_content(message.get("content"))


def _of_content(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict))


def _marks(document: dict[str, Any], blocks: list[dict[str, Any]]) -> dict[int, str]:
    """Index of each marked block -> its ttl. A mark on the whole request stands on its last block."""
    marks = {index: _ttl(block["cache_control"]) for index, block in enumerate(blocks) if block.get("cache_control")}
    if document.get("cache_control") and blocks:
        marks.setdefault(len(blocks) - 1, _ttl(document["cache_control"]))
    return marks


def _ttl(mark: Any) -> str:
    ttl = mark.get("ttl") if isinstance(mark, dict) else None
    return ttl if ttl in TTL_S else "5m"


def _digests(document: dict[str, Any], blocks: list[dict[str, Any]]) -> list[bytes]:
    """The digest of each prefix. Marks are left out of it: they move along as a conversation grows."""
    running = hashlib.sha256(str(document.get("model")).encode())
    digests = []
    for block in blocks:
        bare = {name: value for name, value in block.items() if name != "cache_control"}
        running.update(msgspec.json.encode(bare, order="sorted"))
        digests.append(running.digest())
    return digests


def _tokens(block: dict[str, Any]) -> int:
    if block.get("type") in ("image", "document"):
        return MEDIA_TOKENS
    bare = {name: value for name, value in block.items() if name not in ("cache_control", "type")}
    return max(1, len(msgspec.json.encode(bare)) // 4)
