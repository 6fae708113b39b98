"""The ordinary answer of the scripted upstream: made from the request alone, so no script is needed for it.

One rule: it is arithmetic, not a model. The same requests in the same order get the same bytes, usage included.

    input     about a token for four bytes of each block; an image or document 1,500
    caching   at a `cache_control` mark, what stands before it is written (5m or 1h) the first time and read the second,
              also when the conversation has grown by then; a prefix lives as long as its ttl says
    output    min(max_tokens, 16) words, a token each; `stop_reason` is max_tokens when the cap bites, stop_sequence
              when one of them occurs in the words; `max_tokens: 0` answers with no content
    tools     tool_choice tool or any: one tool_use block, its input made from the schema

A load test writes into `metadata.user_id`, as "frames=60;gap_ms=20":

    output=N  frames=N  gap_ms=N  head_ms=N  input=N     how long, in how many deltas, how fast, what input is reported
    status=N  retry_after=TEXT                           an error answer instead
    end=cut|rst|stall|garbage|half_chunk|refuse|error|nostop  after=N       how it ends, after how many frames
"""

import hashlib
from typing import Any, Final

import msgspec

from faregate.upstreams.prefixes import Prefixes, tokens_in
from faregate.upstreams.script import End, Play, error_frame, events, failure, frames_of, plain

OUTPUT_TOKENS: Final = 16
DELTAS: Final = 8
CACHED_BODIES_MAX: Final = 64
"""Whole answers kept for bodies that come again and again, as a benchmark's do."""
CACHED_BODY_BYTES_MAX: Final = 64 * 1024

_WORDS: Final = ("the", "gate", "opens", "when", "the", "fare", "is", "held", "and", "the", "ride", "is", "counted")

_ERROR_KINDS: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
}  # fmt: skip


class Mimic:
    """Remembers the prompt cache it pretends to have, and nothing else that could change an answer."""

    def __init__(self) -> None:
        self._prefixes = Prefixes()
        self._answers: dict[bytes, Play] = {}

    def answer(self, path: str, body: bytes, now: float) -> Play:
        """The answer to a request. `now` is in seconds, on any clock that only goes forward."""
        route = path.partition("?")[0]
        if route.endswith("/v1/messages"):
            known = self._answers.get(body)
            return known if known is not None else self._message(body, now)
        if route.endswith("/v1/messages/count_tokens"):
            document = _object(body)
            return plain({"input_tokens": tokens_in(document)}) if document else _NO_JSON
        return failure(404, "not_found_error", "Not found")

    def _message(self, body: bytes, now: float) -> Play:
        document = _object(body)
        if document is None or not isinstance(document.get("messages"), list):
            return _NO_JSON
        controls = read_controls(document)
        if "status" in controls:
            return _refusal(controls)
        message = compose(document, controls, self._prefixes.usage(document, now), hashlib.sha256(body).hexdigest())
        play = _perform(message, controls, stream=document.get("stream") is True)
        if len(body) <= CACHED_BODY_BYTES_MAX and b"cache_control" not in body:
            if len(self._answers) >= CACHED_BODIES_MAX:
                self._answers.clear()
            self._answers[body] = play
        return play


def _perform(message: dict[str, Any], controls: dict[str, str], *, stream: bool) -> Play:
    """The message as a play, with the pace and the ending that the controls ask for."""
    end = controls.get("end", "clean")
    more: dict[str, Any] = {"head_delay_ms": _number(controls, "head_ms", 0), "gap_ms": _number(controls, "gap_ms", 0)}
    after = _number(controls, "after", -1)
    if end in tuple(End):
        more["ending"] = End(end)
        more["ending_after"] = after if after >= 0 else None
    if not stream:
        return plain(message, **more)
    frames = frames_of(message, _number(controls, "frames", DELTAS))
    if end == "nostop":
        frames = frames[:-1]
    elif end == "error":
        frames = [*frames[: after if after >= 0 else len(frames) // 2], error_frame()]
    return events(frames, **more)


def compose(document: dict[str, Any], controls: dict[str, str], usage: dict[str, Any], digest: str) -> dict[str, Any]:
    """The message that answers a request, whole."""
    cap = document.get("max_tokens")
    cap = cap if isinstance(cap, int) else OUTPUT_TOKENS
    tool = _forced_tool(document)
    if tool is not None:
        content, output, reason, stop = _tool_use(tool, cap, digest)
    else:
        wanted = _number(controls, "output", max(OUTPUT_TOKENS, _number(controls, "frames", 0)))
        content, output, reason, stop = _text(wanted, cap, document.get("stop_sequences") or [])
    if "input" in controls:
        usage = {**usage, "input_tokens": _number(controls, "input", 0)}
    return {
        "id": f"msg_scripted_{digest[:16]}",
        "type": "message",
        "role": "assistant",
        "model": document.get("model"),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": stop,
        "usage": {**usage, "output_tokens": output, "service_tier": "standard"},
    }


_Composed = tuple[list[dict[str, Any]], int, str, str | None]


def _text(wanted: int, cap: int, stop_sequences: list[str]) -> _Composed:
    count = min(wanted, cap)
    if count <= 0:
        return [], 0, "max_tokens", None
    text = " ".join(_WORDS[index % len(_WORDS)] for index in range(count))
    found = [(text.index(stop), stop) for stop in stop_sequences if stop and stop in text]
    if found:
        at, stop = min(found)
        words = len(text[:at].split())
        return ([{"type": "text", "text": text[:at]}] if at else []), words + 1, "stop_sequence", stop
    return [{"type": "text", "text": text}], count, "end_turn" if wanted <= cap else "max_tokens", None


def _tool_use(tool: dict[str, Any], cap: int, digest: str) -> _Composed:
    arguments = _example(tool.get("input_schema", {}))
    needed = 8 + len(msgspec.json.encode(arguments)) // 4
    if needed > cap:
        arguments = {}
    block = {"type": "tool_use", "id": f"toolu_{digest[:16]}", "name": tool.get("name", "tool"), "input": arguments}
    if cap <= 0:
        return [], 0, "max_tokens", None
    return [block], min(needed, cap), "tool_use" if needed <= cap else "max_tokens", None


def _forced_tool(document: dict[str, Any]) -> dict[str, Any] | None:
    choice, tools = document.get("tool_choice"), document.get("tools")
    if not isinstance(choice, dict) or not isinstance(tools, list) or not tools:
        return None
    wanted = choice.get("name") if choice.get("type") == "tool" else None
    named: list[dict[str, Any]] = [tool for tool in tools if wanted is None or tool.get("name") == wanted]
    return (named or tools)[0] if choice.get("type") in ("tool", "any") else None


def _example(schema: Any) -> Any:
    """A value that a simple JSON schema allows: every property, the first of an enum."""
    if not isinstance(schema, dict):
        return "text"
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: _example(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [_example(schema["items"])] if "items" in schema else []
    simple = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": True, "null": None}
    return simple.get(kind, "text") if isinstance(kind, str) else "text"


def read_controls(document: dict[str, Any]) -> dict[str, str]:
    """What `metadata.user_id` asks for. An ordinary user id has no `=` and asks for nothing."""
    metadata = document.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user_id, str):
        return {}
    pairs = (part.split("=", 1) for part in user_id.split(";") if "=" in part)
    return {name.strip(): value.strip() for name, value in pairs}


def _number(controls: dict[str, str], name: str, default: int) -> int:
    text = controls.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _refusal(controls: dict[str, str]) -> Play:
    status = _number(controls, "status", 500)
    kind = _ERROR_KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return failure(status, kind, f"scripted status {status}", retry_after=controls.get("retry_after"))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
    return document


_NO_JSON: Final = failure(400, "invalid_request_error", "the body is not a Messages request")
