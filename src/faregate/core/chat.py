"""An answer as Chat Completions has it: a message of the Messages API, written as a `chat.completion`.

The rule: it is written after it was billed, so whatever upstream sent becomes an answer and never an error: a body that
cannot be read is passed on as it came. `id` stays the message's, under which its receipt is found, and `created` is the
moment that is in it, so that an answer that is given again is the same to the byte.
"""

from typing import Any, Final

import msgspec

from faregate.core.ids import made_at_ms
from faregate.core.meter import Meter
from faregate.wire.usage import Usage

FINISHES: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class Block(msgspec.Struct, frozen=True):
    """A block of content, as far as it is shown."""

    type: Any = None
    text: Any = None
    thinking: Any = None
    id: Any = None
    name: Any = None
    input: msgspec.Raw = msgspec.Raw(b"{}")
    """As it is written: an argument is the model's own spelling of it."""


class _Message(msgspec.Struct, frozen=True):
    content: list[Block]
    id: str = ""
    model: str = ""
    stop_reason: Any = None
    usage: Any = None


_decode = msgspec.json.Decoder(_Message).decode


def completion(body: bytes) -> bytes:
    """Write a plain answer anew."""
    try:
        message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    text = "".join(block.text for block in message.content if block.type == "text" and type(block.text) is str)
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": spelled(block.input)}}
        for block in message.content
        if block.type == "tool_use"
    ]
    said: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
    if thoughts := "".join(block.thinking for block in message.content if type(block.thinking) is str):
        said["reasoning_content"] = thoughts
    if calls:
        said["tool_calls"] = calls
    meter = Meter()
    meter.start(None)
    meter.delta(message.usage)
    return msgspec.json.encode(
        {
            **head("chat.completion", message.id, message.model),
            "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish(message.stop_reason)}],
            "usage": usage_shown(meter.close().usage),
        }
    )


def head(kind: str, message_id: str, model: str) -> dict[str, Any]:
    """What an answer and each of its chunks begin with."""
    created = made_at_ms(message_id) // 1_000
    return {"id": message_id, "object": kind, "created": created, "model": model, "system_fingerprint": None}


def spelled(value: msgspec.Raw) -> str:
    """JSON as the model wrote it."""
    return bytes(value).decode(errors="replace")


def finish(stop_reason: object) -> str:
    """Why the model stopped, in OpenAI's words."""
    return FINISHES.get(stop_reason, "stop") if type(stop_reason) is str else "stop"


def usage_shown(usage: Usage) -> dict[str, Any]:
    """OpenAI's prompt is all of the input, what came from the cache and what went into it included."""
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output,
        "total_tokens": usage.input_total + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
        },
    }
