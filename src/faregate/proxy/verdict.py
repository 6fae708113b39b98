"""The verdict on an attempt that was not good: what it means for the caller, and whether to try again.

Upstream's own refusals of a request (400, 404, 413, 422) are relayed word for word; its refusals of *us* (401, 402,
403, and a 400 about our account) are not, for such bodies have named keys and accounts. Everything else is upstream's
trouble, in our words.
"""

from collections.abc import Callable
from typing import Final, assert_never

import msgspec

from faregate.core.errors import (
    BodyTooLarge,
    GatewayError,
    InvalidRequest,
    NotFound,
    Refused,
    Unsupported,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamTimeout,
)
from faregate.core.routing import about_our_account, asked_wait_ms, retryable
from faregate.core.stream import StreamFault
from faregate.upstreams.port import Answer, Fault, FaultKind

ERROR_BYTES_MAX: Final = 64 * 1024
"""An error's body beyond this is not read: its message is in the first few hundred."""

MESSAGE_CHARS_MAX: Final = 2_000

_WORDS: Final = {429: "rate_limited", 529: "overloaded", 408: "timeout", 504: "timeout", 401: "unauthorized",
                 402: "unauthorized", 403: "unauthorized"}  # fmt: skip

_STREAM_STATUS: Final = {
    "overloaded_error": 529, "rate_limit_error": 429, "timeout_error": 504, "invalid_request_error": 400,
    "authentication_error": 401, "permission_error": 403, "not_found_error": 404, "request_too_large": 413,
}  # fmt: skip
"""What status an `event: error` under HTTP 200 stands for."""


Redact = Callable[[str], str]
"""Upstream.redact."""


class CallerGone(Exception):
    """The caller hung up before there was an answer."""


class Failed(Exception):
    """One attempt that was not good."""

    def __init__(self, error: GatewayError, *, word: str, status: int | None, again: bool, asked_ms: int | None = None):
        super().__init__(word)
        self.error = error
        self.word = word
        self.status = status
        self.again = again
        self.asked_ms = asked_ms


def alive(failed: Failed) -> bool:
    """Whether an upstream that failed so is up all the same: it answered, and not that it is in trouble itself."""
    return failed.status is not None and failed.status != 200 and failed.status < 500


def of_fault(fault: Fault) -> Exception:
    """What a broken attempt means. The fault's own words name hosts and stay in our log."""
    match fault.kind:
        case FaultKind.CANCELLED:
            return CallerGone()
        case FaultKind.TIMEOUT:
            error: GatewayError = UpstreamTimeout("The upstream did not answer in time.")
        case FaultKind.CONNECT:
            error = UpstreamFailed("The upstream could not be reached.")
        case FaultKind.RESET:
            error = UpstreamFailed("The connection to the upstream broke before its answer was whole.")
        case FaultKind.PROTOCOL:
            error = UpstreamFailed("The upstream's answer could not be understood.")
        case _:
            assert_never(fault.kind)
    return Failed(error, word=fault.kind, status=None, again=True)


def broken(word: str, message: str) -> Failed:
    """An answer under HTTP 200 that is not what was asked for."""
    return Failed(UpstreamFailed(message), word=word, status=200, again=True)


def of_event(fault: StreamFault, redact: Redact) -> Failed:
    """An error event under HTTP 200, before anything went to the caller: as if it had come with its status."""
    if not fault.kind:
        return broken("bad_stream", "The upstream's answer could not be understood.")
    status = _STREAM_STATUS.get(fault.kind, 500)
    return _judged(status, redact(fault.message), asked_ms=None)


def of_stream(fault: StreamFault, redact: Redact) -> GatewayError:
    """A stream that failed after its first event: what its one `event: error` says."""
    return of_event(fault, redact).error


async def of_answer(answer: Answer, redact: Redact, *, now_ms: int) -> Failed:
    """Read an upstream's error and say what it means for the caller."""
    body = b""
    while len(body) < ERROR_BYTES_MAX and (data := await answer.read()):
        body += data
    message = ""
    try:
        document = msgspec.json.decode(body)
        message = document["error"]["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        pass  # Not Anthropic's envelope: then there is nothing in it that a caller should read.
    told = redact(message) if isinstance(message, str) else ""
    return _judged(answer.status, told, asked_wait_ms(answer.headers, now_ms=now_ms))


def _judged(status: int, message: str, asked_ms: int | None) -> Failed:
    message = message[:MESSAGE_CHARS_MAX]
    again = retryable(status)
    error: GatewayError
    match 403 if status == 400 and about_our_account(message) else status:
        case 400:
            too_long = message.startswith("prompt is too long")
            code = "context_length_exceeded" if too_long else "invalid_param"
            error = InvalidRequest(message or "The upstream refused this request.", code=code)
        case 404:
            error = NotFound(message or "The upstream does not know this model.", code="model_not_found")
        case 413:
            error = BodyTooLarge(message or "The request is too large for the upstream.")
        case 422:
            error = Unsupported(message or "The upstream does not support this request.")
        case 401 | 402 | 403:
            # Ours to mend, and nothing of it is the caller's to read: such bodies have named keys and accounts.
            error = UpstreamFailed("The upstream refused this gateway's access.", should_retry=False)
        case 429 | 529:
            error = UpstreamOverloaded("The upstream is overloaded.", retry_after_s=None)
        case 408 | 504:
            error = UpstreamTimeout("The upstream did not answer in time.")
        case _:
            # A redirect or an odd 4xx will be the same the next time: SDKs would repeat our 502 all the same.
            error = UpstreamFailed("The upstream failed.", should_retry=again)
    return Failed(error, word=error.code if isinstance(error, Refused) else _WORDS.get(status, "upstream_error"),
                   status=status, again=again, asked_ms=asked_ms)  # fmt: skip
