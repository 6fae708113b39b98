"""What a Chat Completions server says when it refuses, in Anthropic's envelope.

One rule: the status stands for itself, except where OpenAI's means something else to a caller of ours; a prompt that is
too long is told in Anthropic's own words, for clients recover by them.

    {"error": {"message", "type", "code"}}        OpenAI, llama.cpp, newer vLLM, and in streams everybody
    {"object": "error", "message", "type"}        SGLang, older vLLM
    {"detail": ...}, {"error": "..."}             FastAPI beneath both; Ollama
"""

import re
from typing import Any, Final

import msgspec

KINDS: Final = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 413: "request_too_large", 422: "invalid_request_error",
    429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
"""Anthropic's `error.type` by status; any other is `api_error`."""

_STATUSES: Final = {
    "invalid_request_error": 400, "badrequesterror": 400, "exceed_context_size_error": 400,
    "context_length_exceeded": 400, "not_supported_error": 400, "content_policy_violation": 400,
    "authentication_error": 401, "invalid_api_key": 401, "permission_error": 403, "not_found_error": 404,
    "notfounderror": 404, "model_not_found": 404, "rate_limit_error": 429, "rate_limit_exceeded": 429,
    "tokens": 429, "requests": 429, "insufficient_quota": 402, "overloaded_error": 529, "unavailable_error": 503,
    "timeout_error": 504,
}  # fmt: skip
"""What status a `code` or `type` stands for, where an error comes within a stream and has none of its own."""

_LIMITS: Final = (
    r"maximum context length (?:is|of) (\d+)", r"context length is only (\d+)", r"context length \((\d+)",
    r"context size \((\d+)", r"maximum allowed length \((\d+)", r"context window of (\d+)",
)  # fmt: skip
_INPUTS: Final = (
    r"\((\d+) in the messages", r"(\d+) tokens from the input", r"messages resulted in (\d+)", r"passed (\d+) input",
    r"request has (\d+) input", r"input \((\d+) tokens", r"request \((\d+) tokens", r"resulted in (\d+) tokens",
    r"contains at least (\d+) input", r"prompt contains (\d+)", r"input length \((\d+)",
)  # fmt: skip
_OUTPUTS: Final = (
    r"(\d+) in the completion", r"(\d+) tokens for the completion", r"requested (\d+) output", r"is too large: (\d+)",
)  # fmt: skip
_TOO_LONG: Final = re.compile(
    r"maximum context length|context length is only|model's context length|context_length_exceeded"
    r"|exceeds? the available context size|context window of \d+|maximum allowed length",
    re.IGNORECASE,
)
DIGITS_MAX: Final = 18
"""Of a number of tokens; Python itself reads none of more than 4,300."""

_CONTEXT_WORDS: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})


class Trouble(msgspec.Struct, frozen=True):
    """An error, as Anthropic would tell it."""

    status: int
    message: str

    @property
    def kind(self) -> str:
        return KINDS.get(self.status, "api_error")

    def envelope(self) -> dict[str, Any]:
        return {"type": "error", "error": {"type": self.kind, "message": self.message}}


def of_answer(status: int, body: bytes) -> Trouble:
    """Read the body of an answer that is not 200. Without one that can be read there is no message."""
    try:
        return _trouble(status, msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Trouble(_status(status, ()), "")


def of_chunk(error: object) -> Trouble:
    """Read the `error` of a stream's chunk, or of an answer that is one under HTTP 200."""
    words = _words(error if isinstance(error, dict) else {})
    numbers = [number for number in words if type(number) is int and 400 <= number <= 599]
    named = [_STATUSES[word.lower()] for word in words if isinstance(word, str) and word.lower() in _STATUSES]
    return _trouble((numbers + named + [500])[0], {"error": error})


def _trouble(status: int, document: object) -> Trouble:
    error = _error_in(document)
    words = _words(error)
    message = error.get("message")
    text = message if isinstance(message, str) else ""
    status = _status(status, words)
    if status in (400, 413, 422) and (_CONTEXT_WORDS.intersection(map(str, words)) or _TOO_LONG.search(text)):
        return Trouble(400, _context_words(text, error))
    return Trouble(status, text)


def _error_in(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error}
    detail = document.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        loc = detail[0].get("loc")
        place = ".".join(str(step) for step in loc if step != "body") if isinstance(loc, list) else ""
        return {"message": f"{place}: {detail[0].get('msg')}" if place else detail[0].get("msg")}
    return {"message": detail} if isinstance(detail, str) else document


def _words(error: dict[str, Any]) -> tuple[object, ...]:
    return (error.get("code"), error.get("type"))


def _status(status: int, words: tuple[object, ...]) -> int:
    # A quota that is used up is answered 429, and waiting does not mend it: it is about the operator's account.
    return 402 if status == 429 and "insufficient_quota" in words else status


def _context_words(text: str, error: dict[str, Any]) -> str:
    """Anthropic's words for what does not fit, with its numbers as far as the peer tells them."""
    most, given, output = _found(_LIMITS, text), _found(_INPUTS, text), _found(_OUTPUTS, text)
    if type(error.get("n_ctx")) is int and type(error.get("n_prompt_tokens")) is int:
        most, given = error["n_ctx"], error["n_prompt_tokens"]
    if most is None or given is None:
        return f"prompt is too long: {text}" if text else "prompt is too long"
    if output and given < most:
        return (
            f"input length and `max_tokens` exceed context limit: {given} + {output} > {most}, decrease input length "
            "or `max_tokens` and try again"
        )
    return f"prompt is too long: {given} tokens > {most} maximum"


def _found(patterns: tuple[str, ...], text: str) -> int | None:
    for pattern in patterns:
        if (match := re.search(pattern, text, re.IGNORECASE)) and len(match[1]) <= DIGITS_MAX:
            return int(match[1])
    return None
