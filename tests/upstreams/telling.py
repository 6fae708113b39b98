"""What tests of the offline model share: frames as its server writes them, and the law of an Anthropic stream."""

from typing import Any

import msgspec

from faregate.upstreams.local_stream import Ids, Toll, Translation
from faregate.upstreams.local_wire import plan
from faregate.wire import sse

TOLL = Toll(salt=17, head=20)
IDS = Ids(message="msg_1", tool="toolu_1")
USER = [{"role": "user", "content": "Which gate opens?"}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["city", "unit"],
    },
}
TIME = {
    "name": "get_time",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def translation(**more: Any) -> Translation:
    document = {"messages": USER, "max_tokens": 100, **more}
    return Translation(plan(document), TOLL, IDS, "claude-haiku-4-5")


def progress(total: int = 50, cache: int = 0) -> bytes:
    return native(content="", stop=False, prompt_progress={"total": total, "cache": cache, "processed": cache})


def text(content: str) -> bytes:
    return native(content=content, stop=False)


def last(stop_type: str = "eos", *, word: str = "", output: int = 3, total: int = 50, cache: int = 0) -> bytes:
    return native(
        content="",
        stop=True,
        stop_type=stop_type,
        stopping_word=word,
        tokens_predicted=output,
        tokens_evaluated=total,
        timings={"cache_n": cache},
    )


def native(**fields: Any) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def events(stream: bytes) -> list[dict[str, Any]]:
    """Read a stream as a strict client does."""
    found = []
    for frame in sse.frames(stream):
        event = msgspec.json.decode(frame.data)
        assert frame.raw == b"event: " + frame.event + b"\ndata: " + frame.data + b"\n\n"
        assert event["type"] == frame.event.decode()
        found.append(event)
    return found


def check_legal(stream: bytes, *, whole: bool = True) -> list[dict[str, Any]]:
    """One message_start, blocks one after the other, one message_delta, message_stop; a prefix of that unless whole."""
    found = events(stream)
    rest = [event["type"] for event in found]
    expected = iter(rest)
    opened = 0
    if rest:
        assert next(expected) == "message_start"
    for name in expected:
        if name == "content_block_start":
            opened += 1
            assert opened == 1
        elif name == "content_block_delta":
            assert opened == 1
        elif name == "content_block_stop":
            assert opened == 1
            opened = 2
        else:
            assert name == "message_delta" and opened in (0, 2)
            assert list(expected) == ["message_stop"]
            return found
    assert not whole
    return found


def content(found: list[dict[str, Any]]) -> str:
    """The text or the tool's JSON that a client puts together."""
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    return "".join(delta.get("text", "") + delta.get("partial_json", "") for delta in deltas)
