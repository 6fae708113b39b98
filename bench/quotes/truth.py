"""What an upstream would report: true tokens of a prompt, and what its cache reads and writes of them.

The rule: nothing here is the gateway's. The template is made up after what the provider documents: a few tokens a
message, some hundreds for tools at all, a picture's width × height / 750 up to a maximum, a document by its pages. A
cache writes at each mark from a least size on, and reads the longest prefix that is warm, at most 20 blocks before the
last mark.
"""

import base64
import json
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from bench.quotes.tokenizers import Tokenizer
from faregate.upstreams.prefixes import usage_of

BASE, MESSAGE, TOOLSET, TOOL, CALL = 7, 4, 330, 9, 12
PIXELS_PER_TOKEN: Final = 750
EDGES_MAX: Final = {1_600: 1_568, 4_784: 2_576}
"""A longer side is scaled down to this first, by the model's most tokens of a picture."""
PAGE_BYTES: Final = 3_000
PAGE_TOKENS: Final = 2_600
CACHED_MIN: Final = 1_024
LOOKBACK: Final = 20
TTL_MS: Final = {"5m": 300_000, "1h": 3_600_000}

Block = tuple[int, int, str | None]
"""What it is told by, its tokens, and the ttl of its mark."""


class Truth:
    def __init__(self, tokenizer: Tokenizer, picture_tokens_max: int = 1_600) -> None:
        self._picture_tokens_max = picture_tokens_max
        self._count = tokenizer.count
        self._json = lru_cache(20_000)(tokenizer.count)
        self._warm: dict[int, tuple[int, str]] = {}
        """Prefix -> when it is forgotten, and its ttl."""

    def usage(self, document: dict[str, Any], tenant: str, now_ms: int) -> dict[str, Any]:
        """The input side of a usage object; marks are remembered from now on."""
        blocks = list(self._blocks(document))
        prefixes, upto, seen = list[int](), list[int](), hash((tenant, document["model"]))
        tokens = 0
        for name, size, _ in blocks:
            seen = hash((seen, name))
            tokens += size
            prefixes.append(seen)
            upto.append(tokens)
        total = BASE + tokens
        marks = [index for index, block in enumerate(blocks) if block[2] and upto[index] >= CACHED_MIN]
        if not marks:
            return usage_of(total, 0, {"5m": 0, "1h": 0})
        read = self._read(prefixes, marks, now_ms)
        done = upto[read] if read is not None else 0
        written, cached = {"5m": 0, "1h": 0}, done
        for index in marks:
            ttl = blocks[index][2] or "5m"
            written[ttl] += max(0, upto[index] - done)
            done = max(done, upto[index])
            self._warm[prefixes[index]] = (now_ms + TTL_MS[ttl], ttl)
        return usage_of(total - done, cached, written)

    def forget(self, now_ms: int) -> None:
        """Drop what is no longer warm."""
        self._warm = {prefix: until for prefix, until in self._warm.items() if until[0] > now_ms}

    def _read(self, prefixes: list[int], marks: list[int], now_ms: int) -> int | None:
        for mark in reversed(marks):
            for index in range(mark, max(-1, mark - LOOKBACK - 1), -1):
                until, ttl = self._warm.get(prefixes[index], (0, ""))
                if until > now_ms:
                    self._warm[prefixes[index]] = (now_ms + TTL_MS[ttl], ttl)
                    return index
        return None

    def _blocks(self, document: dict[str, Any]) -> Iterator[Block]:
        tools = document.get("tools") or []
        for index, tool in enumerate(tools):
            text = json.dumps({name: value for name, value in tool.items() if name != "cache_control"})
            yield hash(text), self._json(text) + TOOL + (0 if index else TOOLSET), _ttl(tool)
        yield from self._content(document.get("system") or [], 3)
        for message in document["messages"]:
            yield from self._content(message["content"], MESSAGE)

    def _content(self, content: Any, extra: int) -> Iterator[Block]:
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for index, block in enumerate(content):
            name, tokens = self._block(block)
            yield name, tokens + (0 if index else extra), _ttl(block)

    def _block(self, block: dict[str, Any]) -> tuple[int, int]:
        """What it is told by, and its tokens."""
        match block["type"]:
            case "text":
                return hash(block["text"]), self._count(block["text"])
            case "tool_use":
                text = block["name"] + json.dumps(block["input"])
                return hash(text), self._count(text) + CALL
            case "tool_result":
                inner = block["content"]
                told = (
                    [self._block(part) for part in inner]
                    if isinstance(inner, list)
                    else [(hash(inner), self._count(inner))]
                )
                return hash(tuple(name for name, _ in told)), sum(tokens for _, tokens in told) + CALL
            case "image":
                data = block["source"]["data"]
                return hash(data), picture_tokens(data, self._picture_tokens_max)
            case _:
                source = block["source"]
                if source["type"] == "text":
                    return hash(source["data"]), self._count(source["data"]) + CALL
                pages = max(1, len(source["data"]) * 3 // 4 // PAGE_BYTES)
                return hash(source["data"]), pages * PAGE_TOKENS


def picture_tokens(data: str, tokens_max: int) -> int:
    """A PNG by its size, up to the model's published maximum."""
    width, height = (int(side) for side in struct.unpack(">II", base64.b64decode(data[:32])[16:24]))
    longest, most = max(width, height), EDGES_MAX.get(tokens_max, max(width, height))
    scale = min(1.0, most / longest)
    return min(tokens_max, round(width * scale * height * scale / PIXELS_PER_TOKEN))


def _ttl(block: dict[str, Any]) -> str | None:
    mark = block.get("cache_control")
    return str(mark.get("ttl", "5m")) if mark else None
