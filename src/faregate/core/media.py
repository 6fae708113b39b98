"""How large a picture is, read from the first bytes of its file, and about how many tokens it comes to.

The rule: it never raises and never decodes a picture. What is not understood is taken for the largest there is.

    base64 text ── Picture.of ──> width × height ── picture_tokens ──> width × height / 750, at most the model's maximum
"""

import binascii
import math
from typing import Final, Self

import msgspec

PIXELS_PER_TOKEN: Final = 750
HEADER_CHARS: Final = 64
SEGMENTS_CHARS: Final = 131_072
"""A JPEG's size stands behind its metadata, which may bring a thumbnail."""

_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG's start-of-frame segments."""


class Picture(msgspec.Struct, frozen=True):
    width: int
    height: int

    @classmethod
    def of(cls, data: str) -> Self | None:
        """Read PNG, GIF, WebP or JPEG, in base64; None for anything else."""
        head = _decode(data[:HEADER_CHARS])
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            found = (_big(head[16:20]), _big(head[20:24]))
        elif head[:4] == b"GIF8":
            found = (_little(head[6:8]), _little(head[8:10]))
        elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            found = _webp(head)
        elif head[:2] == b"\xff\xd8":
            found = _jpeg(_decode(data[:SEGMENTS_CHARS]))
        else:
            return None
        return cls(*found) if found[0] and found[1] else None


def picture_tokens(picture: Picture | None, tokens_max: int) -> tuple[int, int]:
    """About what a picture comes to as it is, and where long ones are scaled down first: providers do either.

    A side is allowed about √2 times that of the largest square.
    """
    if picture is None:
        return tokens_max, tokens_max
    width, height = picture.width, picture.height
    whole = min(tokens_max, -(-width * height // PIXELS_PER_TOKEN))
    longest, most = max(width, height), math.isqrt(2 * PIXELS_PER_TOKEN * tokens_max)
    if longest <= most:
        return whole, whole
    width, height = (max(1, side * most // longest) for side in (width, height))
    return whole, min(tokens_max, -(-width * height // PIXELS_PER_TOKEN))


def _decode(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if kind == b"VP8L":
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _SIZES:
            return _big(data[at + 7 : at + 9]), _big(data[at + 5 : at + 7])
        at += 2 + max(2, _big(data[at + 2 : at + 4]))
    return 0, 0
