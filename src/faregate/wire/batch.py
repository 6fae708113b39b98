"""The body of a batch: who it is for is not looked at here, and what each call says stays in bytes until it is judged.

The rule: nothing of a batch is decoded twice or held as objects all at once. A body of 256 MB is cut into its requests,
each of which is then read as a body of /v1/messages of its own, with that body's bounds.

    cut(body) -> [(custom_id, params), ...]      Malformed at the first fault: `requests.3.custom_id: ...`
"""

import re
from typing import Any, Final

import msgspec

from faregate.wire.shape import EXTRA, Malformed, at, required

REQUESTS_MAX: Final = 100_000

CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def cut(body: bytes) -> list[tuple[str, bytes]]:
    """The requests of a batch, in order, each with its `params` as they came. Raises Malformed."""
    try:
        document = _object(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"The request body is not a JSON object: {error}", invalid_json=True) from None
    for name in document:
        if name != "requests":
            raise Malformed(EXTRA, name[:64])
    requests = required(document, "requests")
    with at("requests"):
        try:
            entries = _array(requests)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Malformed("Input should be a valid array") from None
        if not 1 <= len(entries) <= REQUESTS_MAX:
            raise Malformed(f"List should have 1 to {REQUESTS_MAX} items, not {len(entries)}")
        return _entries(entries)


def _entries(entries: list[msgspec.Raw]) -> list[tuple[str, bytes]]:
    found: dict[str, int] = {}
    requests = []
    for number, raw in enumerate(entries):
        with at(number):
            custom_id, params = _entry(raw)
            first = found.setdefault(custom_id, number)
            if first != number:
                raise Malformed(f"{custom_id!r} is taken by request {first} of this batch", "custom_id")
            requests.append((custom_id, params))
    return requests


def _entry(raw: msgspec.Raw) -> tuple[str, bytes]:
    try:
        entry: dict[str, Any] = _object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("Input should be an object") from None
    for name in entry:
        if name not in ("custom_id", "params"):
            raise Malformed(EXTRA, name[:64])
    try:
        custom_id = msgspec.json.decode(required(entry, "custom_id"), type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("Input should be a valid string", "custom_id") from None
    if CUSTOM_ID.fullmatch(custom_id) is None:
        raise Malformed("String should have 1 to 64 letters, digits, '_' and '-'", "custom_id")
    return custom_id, bytes(required(entry, "params"))
