"""A plain answer: its money read, its id and model made ours, every other byte as it came."""

from typing import Any

import msgspec

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Plain(msgspec.Struct, frozen=True):
    body: bytes
    """As the caller gets it."""
    usage: Any
    """Upstream's usage, unjudged: the meter reads it."""
    content_bytes: int
    """How long the content is on the wire, for an answer whose usage says nothing."""


def read_plain(body: bytes, *, message_id: str, model: str) -> Plain | None:
    """Read a Message as upstream sent it; None when it is not one."""
    try:
        fields = _decode(body)
        if msgspec.json.decode(fields["type"]) != "message":
            return None
        usage = msgspec.json.decode(fields["usage"]) if "usage" in fields else None
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
        return None
    content_bytes = len(fields.get("content", b""))
    fields["id"] = msgspec.Raw(msgspec.json.encode(message_id))
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return Plain(msgspec.json.encode(fields), usage, content_bytes)
