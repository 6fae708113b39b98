"""The one error renderer: a GatewayError in, the answer as it goes out.

Every door uses it, so that an error looks the same wherever it was raised: Anthropic's envelope, our request id in the
body and in the header, `retry-after` where waiting helps, and `x-should-retry: false` where asking again does not. One
door has an envelope of its own, and nothing else: OpenAI's.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from faregate.core.errors import GatewayError

RETRY_AFTER_S_MAX: Final = 31 * 24 * 3600
"""No window of ours is longer than a month; a larger figure would be a bug that puts a client to sleep for years."""

_NOT_RETRIED: Final = (b"x-should-retry", b"false")


def envelope(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Anthropic's envelope; also what an `event: error` carries in a stream."""
    return {
        "type": "error",
        "error": {
            "type": error.kind,
            "message": error.message,
            "details": {**error.details, "error_code": error.code},
        },
        "request_id": request_id,
    }


def render(
    error: GatewayError, request_id: str, envelope: Callable[[GatewayError, str], dict[str, Any]] = envelope
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Give status, headers and body of an error's answer."""
    body = msgspec.json.encode(envelope(error, request_id))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"request-id", request_id.encode("latin-1")),
        *error.headers,
    ]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % whole_seconds(error.retry_after_s)))
    if not error.should_retry:
        headers.append(_NOT_RETRIED)
    return error.status, headers, body


def whole_seconds(seconds: float) -> int:
    """Round a wait up: a client that comes back a moment early is refused a second time."""
    return min(max(0, math.ceil(seconds)), RETRY_AFTER_S_MAX)
