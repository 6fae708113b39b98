"""What tests of Chat Completions share: the law of a stream of many blocks, and what a client makes of it."""

import json
from typing import Any

import msgspec

from faregate.upstreams.chat_stream import Asked, Translation
from faregate.wire import sse

PAYLOADS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def asked(**more: Any) -> Asked:
    told: dict[str, Any] = {
        "model": "claude-haiku-4-5", "message_id": "msg_1", "max_tokens": 100, "stops": [], "shows_thinking": True,
        "input_guess": 30,
    }  # fmt: skip
    return Asked(**{**told, **more})


def translated(body: bytes, piece: int = 1 << 20, **more: Any) -> dict[str, Any]:
    """A stream fed in pieces, read as a client reads it, and checked."""
    translation = Translation(asked(**more))
    out = b"".join(translation.feed(body[at : at + piece]) for at in range(0, len(body), piece)) + translation.end()
    return gathered(out)


def events(out: bytes) -> list[dict[str, Any]]:
    found = []
    for frame in sse.frames(out):
        event: dict[str, Any] = msgspec.json.decode(frame.data)
        assert frame.raw == b"event: " + frame.event + b"\ndata: " + frame.data + b"\n\n"
        assert event["type"] == frame.event.decode()
        found.append(event)
    return found


def gathered(out: bytes) -> dict[str, Any]:
    """The message that a client puts together. Blocks must be one after the other, and the end must be the end."""
    start, *rest, delta, stop = events(out)
    assert (start["type"], delta["type"], stop["type"]) == ("message_start", "message_delta", "message_stop")
    message: dict[str, Any] = {**start["message"], "content": []}
    pieces: list[str] = []
    is_open = False
    for event in rest:
        match event["type"]:
            case "content_block_start":
                assert not is_open and event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
                is_open, pieces = True, []
            case "content_block_delta":
                assert is_open and event["index"] == len(message["content"]) - 1
                pieces.append(event["delta"][PAYLOADS[event["delta"]["type"]]])
            case "content_block_stop":
                assert is_open and event["index"] == len(message["content"]) - 1
                is_open = False
                _fill(message["content"][-1], "".join(pieces))
            case other:
                raise AssertionError(other)
    assert not is_open
    return {**message, **delta["delta"], "usage": {**message["usage"], **delta["usage"]}}


def _fill(block: dict[str, Any], text: str) -> None:
    match block["type"]:
        case "tool_use":
            try:
                block["input"] = json.loads(text) if text.strip() else {}
            except ValueError:
                block["input"] = {}
        case kind:
            block[kind] = text
