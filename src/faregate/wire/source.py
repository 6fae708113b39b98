"""Sources: where the bytes of an image or a document come from.

The rule: what is in the body is checked whole and its base64 length returned, so that the quote can price media by the
model's published maximum instead of by its bytes; what is elsewhere is known only by its reference.

    base64 | url | file            images
    base64 | text | url | file     documents (a `content` source is read where blocks are)
"""

from typing import Any, Final

from faregate.wire.shape import Malformed, one_of, text

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
DOCUMENT_TYPES: Final = ("application/pdf",)

URL_CHARS_MAX: Final = 8_192
"""Longer than any browser or server takes a URL."""

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def image_source(source: dict[str, Any]) -> int:
    """Judge the source of an image; the length of its base64 data in the body."""
    kind = source.get("type")
    if kind == "base64":
        one_of(source.get("media_type"), IMAGE_TYPES, "media_type")
        return _base64(source)
    if kind == "url":
        _url(source)
    elif kind == "file":
        text(source, "file_id")
    else:
        one_of(kind, ("base64", "url", "file"), "type")
    return 0


def document_source(source: dict[str, Any]) -> tuple[int, bool]:
    """Judge the source of a document; the length of its base64 data, and whether its content is not in the body."""
    kind = source.get("type")
    if kind == "base64":
        one_of(source.get("media_type"), DOCUMENT_TYPES, "media_type")
        return _base64(source), False
    if kind == "text":
        one_of(source.get("media_type"), ("text/plain",), "media_type")
        text(source, "data")
        return 0, False
    if kind == "url":
        _url(source)
    elif kind == "file":
        text(source, "file_id")
    else:
        one_of(kind, ("base64", "text", "content", "url", "file"), "type")
    return 0, True


def _base64(source: dict[str, Any]) -> int:
    """Check the alphabet, the padding and the length, at a thousand megabytes a second; decoding it would be slower."""
    data = text(source, "data")
    odd = data.encode().translate(None, _ALPHABET)
    if not data or len(data) % 4 or odd not in (b"", b"=", b"==") or not data.endswith(odd.decode()):
        hint = "without the data: prefix" if data.startswith("data:") else "in the standard alphabet, with its padding"
        raise Malformed(f"Input should be valid base64, {hint}", "data")
    return len(data)


def _url(source: dict[str, Any]) -> None:
    url = text(source, "url")
    if not url[:8].lower().startswith(("http://", "https://")):
        raise Malformed("Input should be an http or https URL", "url")
    if len(url) > URL_CHARS_MAX:
        raise Malformed(f"URL should have at most {URL_CHARS_MAX} characters", "url")
