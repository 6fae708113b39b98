"""A prompt as the estimate sees it: its boundaries, by digest, and what stands between them, by kind of content.

The rule: one walk, in the order that upstream's cache sees a prompt - tools, system, then message by message. Cache
marks and the data of media are left out of the texts; marks wander from call to call while the prompt stays.

    survey(document) -> Part, Part, ...       each ends at a boundary: a mark, the end of the head, the end of a message
    measure(parts)   -> [bytes of lower case, digits, spaces, ...; messages, images, ...]     numbers to be weighed
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from faregate.core.media import Picture, picture_tokens

MESSAGES_MAX: Final = 512
"""How many message boundaries of one prompt are tried as a known prefix."""
SAMPLED_BYTES: Final = 8_192
"""More text than this is measured by windows that are spread over it."""
WINDOW_BYTES: Final = 128

TTLS: Final = ("5m", "1h")
BILLING_HEADER: Final = "x-anthropic-billing-header"
"""A system text that begins so changes with each prompt and is not part of any prefix."""

KINDS: Final = (
    "lower", "upper", "digits", "spaces", "indents", "marks", "wide", "narrow",
    "messages", "blocks", "toolset", "pixels", "scaled", "images", "documents", "document_kb",
)  # fmt: skip
"""What is counted. `wide` characters have three UTF-8 bytes or more (Chinese), `narrow` ones two (Cyrillic)."""
TEXT_KINDS: Final = 8
"""So many of them are kinds of text."""

MEDIA_NAME: Final = 24
"""Media stand in a prompt's text by so many digits of their digest."""
_END = b"\xff"
"""After each text: no byte of UTF-8, so two prompts are never alike where they are joined."""
_LOWER, _UPPER, _DIGITS = bytes(range(97, 123)), bytes(range(65, 91)), b"0123456789"
_SPACES = b" \n\t\r"
_CONTINUED, _NARROW = bytes(range(0x80, 0xC0)) + _END, bytes(range(0xC0, 0xE0))
_WIDE = bytes(range(0xE0, 0xF8))


class Part(msgspec.Struct):
    """What stands between two boundaries, and the second of them."""

    digest: bytes
    """Of all that comes before the second boundary."""
    ttl: str | None
    """"5m" or "1h" where a cache mark stands there."""
    text: bytes
    counts: tuple[int, int, int, int, int, int, int, int]
    """messages, blocks, toolset, pixels (as tokens) as they are and scaled, images, documents, their kilobytes"""


class Prompt(msgspec.Struct):
    parts: list[Part]
    head: int
    """The index of the part that ends tools and system, which are often alike from call to call; it may be empty."""


def survey(document: Mapping[str, Any], *, namespace: str, image_tokens_max: int) -> Prompt:
    """Walk a prompt. Two tenants never share a boundary: `namespace` (wallet and model) is part of every digest."""
    walk = _Walk(namespace, image_tokens_max)
    tools = document.get("tools")
    if isinstance(tools, list) and tools:
        walk.toolset = 1
        for tool in tools:
            walk.block(tool)
    system = document.get("system")
    if system:
        walk.add(b"system")
        walk.content(system, is_system=True)
    walk.boundary(None)
    head = len(walk.parts) - 1
    messages = document["messages"]
    first = len(messages) - MESSAGES_MAX
    for index, message in enumerate(messages):
        walk.messages += 1
        walk.add(str(message.get("role")).encode(errors="replace"))
        walk.content(message.get("content"))
        if index >= first:
            walk.boundary(None)
    top = document.get("cache_control")
    if isinstance(top, dict):
        walk.parts[-1].ttl = _ttl(top)
    return Prompt(walk.parts, head)


def measure(parts: Sequence[Part]) -> list[float]:
    """How much of each kind stands in these parts, in the order of KINDS."""
    found = _classes(parts[0].text if len(parts) == 1 else b"".join([part.text for part in parts]))
    if len(parts) == 1:
        found.extend(parts[0].counts)
    else:
        found.extend(map(sum, zip(*[part.counts for part in parts], strict=True)) if parts else [0] * 8)
    return found


class _Walk:
    def __init__(self, namespace: str, image_tokens_max: int) -> None:
        self._hash = hashlib.sha256(namespace.encode())
        self._image_tokens_max = image_tokens_max
        self.parts: list[Part] = []
        # Since the last boundary:
        self._texts: list[bytes] = []
        self.add = self._texts.append
        self.messages = self.blocks = self.toolset = 0
        self._pixels = self._scaled = self._images = self._documents = self._kilobytes = 0

    def boundary(self, ttl: str | None) -> None:
        texts = self._texts
        if not texts and self.parts:
            self.parts[-1].ttl = self.parts[-1].ttl or ttl
            return
        texts.append(b"")
        text = _END.join(texts)
        texts.clear()
        self._hash.update(text)
        counts = (
            self.messages, self.blocks, self.toolset, self._pixels, self._scaled, self._images,
            self._documents, self._kilobytes,
        )  # fmt: skip
        self.parts.append(Part(self._hash.digest(), ttl, text, counts))
        self.messages = self.blocks = self.toolset = 0
        self._pixels = self._scaled = self._images = self._documents = self._kilobytes = 0

    def content(self, content: Any, *, is_system: bool = False) -> None:
        if isinstance(content, str):
            self.add(content.encode(errors="replace"))
        elif isinstance(content, list):
            for index, block in enumerate(content):
                if is_system and index == 0 and isinstance(block, dict):
                    text = block.get("text")
                    if isinstance(text, str) and text.startswith(BILLING_HEADER):
                        continue
                self.block(block)

    def block(self, block: Any) -> None:
        if not isinstance(block, dict):
            return
        kind, text = block.get("type"), block.get("text")
        mark = block.get("cache_control")
        # A text block and the bare string are one prompt, and SDK users change from one to the other to set a mark.
        if kind == "text" and isinstance(text, str) and len(block) == (2 if mark is None else 3):
            self.add(text.encode(errors="replace"))
        else:
            self._other(block, kind)
        if isinstance(mark, dict):
            self.boundary(_ttl(mark))

    def _other(self, block: dict[str, Any], kind: Any) -> None:
        self.blocks += 1
        source, content = block.get("source"), block.get("content")
        if kind in ("image", "document") and isinstance(source, dict):
            block = {name: value for name, value in block.items() if name not in ("cache_control", "source")}
            self._medium(source, is_image=kind == "image")
        elif kind == "tool_result" and isinstance(content, str | list):
            block = {name: value for name, value in block.items() if name not in ("cache_control", "content")}
            self.add(msgspec.json.encode(block))
            self.content(content)
            return
        elif "cache_control" in block:
            block = {name: value for name, value in block.items() if name != "cache_control"}
        self.add(msgspec.json.encode(block))

    def _medium(self, source: dict[str, Any], *, is_image: bool) -> None:
        data = source.get("data")
        if source.get("type") != "base64" or not isinstance(data, str):
            self.add(msgspec.json.encode(source))
            data = None
            if source.get("type") not in ("url", "file"):
                return  # A document of text: its words were counted just now.
        else:
            self.add(hashlib.sha256(data.encode(errors="replace")).hexdigest()[:MEDIA_NAME].encode())
        if is_image:
            self._images += 1
            whole, scaled = picture_tokens(Picture.of(data) if data else None, self._image_tokens_max)
            self._pixels += whole
            self._scaled += scaled
        else:
            self._documents += 1
            self._kilobytes += len(data or "") // 1_000


def _ttl(mark: dict[str, Any]) -> str:
    ttl = mark.get("ttl", "5m")
    return ttl if ttl in TTLS else "5m"


def _classes(text: bytes) -> list[float]:
    """Bytes of text by kind; of characters beyond ASCII their number."""
    size = len(text)
    if size > SAMPLED_BYTES:
        step = size * WINDOW_BYTES // SAMPLED_BYTES | 1  # Odd, or a table of even rows is always met at one column.
        sample = b"".join([text[at : at + WINDOW_BYTES] for at in range(0, size - WINDOW_BYTES + 1, step)])
        return [count * size / len(sample) for count in _classes(sample)]
    left, counts = text, list[float]()
    for kind in (_LOWER, _UPPER, _DIGITS, _SPACES):
        rest = left.translate(None, kind)
        counts.append(len(left) - len(rest))
        left = rest
    counts.append(text.count(b"  "))
    if left.isascii():
        return [*counts, len(left), 0, 0]
    bare = left.translate(None, _CONTINUED)
    narrow = len(bare) - len(bare.translate(None, _NARROW))
    wide = len(bare) - len(bare.translate(None, _WIDE))
    return [*counts, len(bare) - narrow - wide, wide, narrow]
