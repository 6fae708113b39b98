"""One line of an upstream's results of a batch: whose it is, and what became of it.

The rule: nothing is believed of its shape. What is no result is None, and whoever reads on knows the rest by name.
"""

import msgspec

TYPES = ("succeeded", "errored", "canceled", "expired")


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    custom_id: str
    type: str
    """One of TYPES."""
    message: bytes = b""
    """Of what succeeded: the message, as it came."""
    error_type: str = ""
    error_message: str = ""


class _Inner(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Error(msgspec.Struct):
    error: _Inner = msgspec.field(default_factory=_Inner)


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"")
    error: _Error = msgspec.field(default_factory=_Error)


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


_decode = msgspec.json.Decoder(_Line).decode


def read_result(line: bytes) -> BatchResult | None:
    """Read a line; None when it is no result."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if found.result.type not in TYPES:
        return None
    error = found.result.error.error
    return BatchResult(
        custom_id=found.custom_id,
        type=found.result.type,
        message=bytes(found.result.message),
        error_type=error.type,
        error_message=error.message,
    )
