"""The ordinary answer is made from the request alone: the same request, the same bytes, and usage to match."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.upstreams.mimic import CACHED_BODIES_MAX, OUTPUT_TOKENS, Mimic, read_controls
from faregate.upstreams.script import End, Play

TOOL = {
    "name": "open_gate",
    "input_schema": {
        "type": "object",
        "properties": {
            "gate": {"type": "integer", "minimum": 3},
            "side": {"type": "string", "enum": ["left", "right"]},
            "ok": {"type": "boolean"},
            "notes": {"type": "array", "items": {"type": "string"}},
            "none": {"type": "null"},
            "any": {},
        },
    },
}


def answer(mimic: Mimic | None = None, *, path: str = "/v1/messages", **fields: Any) -> Play:
    document = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}], **fields}
    return (mimic or Mimic()).answer(path, msgspec.json.encode(document), 0.0)


def message(play: Play) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(b"".join(play.frames))
    return decoded


def test_a_plain_answer_is_a_message_with_usage() -> None:
    made = message(answer())
    assert (made["type"], made["role"], made["model"], made["stop_reason"]) == ("message", "assistant", "m", "end_turn")
    assert len(made["content"][0]["text"].split()) == made["usage"]["output_tokens"] == OUTPUT_TOKENS
    assert made["usage"]["input_tokens"] >= 1


def test_a_streamed_answer_is_the_same_message_in_frames() -> None:
    play = answer(stream=True)
    assert play.content_type.startswith("text/event-stream")
    assert play.frames[0].startswith(b"event: message_start\n")
    assert play.frames[-1] == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert sum(b"content_block_delta" in frame for frame in play.frames) == 8


def test_the_same_request_gets_the_same_bytes_and_another_does_not() -> None:
    assert answer().whole == answer().whole
    assert answer().whole != answer(system="x").whole


@given(cap=st.integers(0, 40))
def test_the_cap_is_kept_and_said_so_when_it_bites(cap: int) -> None:
    made = message(answer(max_tokens=cap))
    assert made["usage"]["output_tokens"] == min(cap, OUTPUT_TOKENS)
    assert made["stop_reason"] == ("max_tokens" if cap < OUTPUT_TOKENS else "end_turn")
    assert bool(made["content"]) is (cap > 0)


def test_a_stop_sequence_ends_the_text_before_it_and_is_named() -> None:
    made = message(answer(stop_sequences=["nowhere", "when", "fare"]))
    assert made["content"] == [{"type": "text", "text": "the gate opens "}]
    assert (made["stop_reason"], made["stop_sequence"]) == ("stop_sequence", "when")
    assert made["usage"]["output_tokens"] == 4


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "open_gate"}])
def test_a_forced_tool_is_used_with_arguments_that_its_schema_allows(choice: dict[str, str]) -> None:
    made = message(answer(tools=[TOOL], tool_choice=choice))
    block = made["content"][0]
    assert (block["type"], block["name"], made["stop_reason"]) == ("tool_use", "open_gate", "tool_use")
    assert block["input"] == {"gate": 3, "side": "left", "ok": True, "notes": ["text"], "none": None, "any": {}}
    streamed = answer(tools=[TOOL], tool_choice=choice, stream=True)
    assert any(b"input_json_delta" in frame for frame in streamed.frames)


def test_the_tool_that_was_named_is_the_one_that_is_used() -> None:
    tools = [{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": {}}]
    made = message(answer(tools=tools, tool_choice={"type": "tool", "name": "b"}))
    assert made["content"][0]["name"] == "b"


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "none"}, None])
def test_a_tool_that_is_not_forced_is_not_used(choice: dict[str, str] | None) -> None:
    assert message(answer(tools=[TOOL], tool_choice=choice))["content"][0]["type"] == "text"


def test_a_forced_tool_under_too_low_a_cap_stops_at_the_cap() -> None:
    made = message(answer(tools=[TOOL], tool_choice={"type": "any"}, max_tokens=5))
    assert (made["stop_reason"], made["usage"]["output_tokens"]) == ("max_tokens", 5)


def test_a_marked_prefix_is_written_then_read() -> None:
    mimic = Mimic()
    marked = [{"type": "text", "text": "long " * 50, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    cold, warm = (message(answer(mimic, system=marked))["usage"] for _ in range(2))
    assert cold["cache_creation"]["ephemeral_1h_input_tokens"] == warm["cache_read_input_tokens"] > 50
    assert warm["cache_creation_input_tokens"] == cold["cache_read_input_tokens"] == 0


def test_a_count_is_the_input_that_an_answer_reports() -> None:
    counted = message(answer(path="/v1/messages/count_tokens?beta=true"))
    assert counted == {"input_tokens": message(answer())["usage"]["input_tokens"]}


def test_other_paths_and_bodies_are_refused() -> None:
    assert answer(path="/v1/complete").status == 404
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert Mimic().answer(path, b"not json", 0.0).status == 400
    assert Mimic().answer("/v1/messages", b'{"messages":3}', 0.0).status == 400


# What a load test may ask for


def steered(controls: str, **fields: Any) -> Play:
    return answer(metadata={"user_id": controls}, **fields)


def test_the_number_and_pace_of_events_can_be_asked_for() -> None:
    play = steered("frames=60;gap_ms=20;head_ms=5", stream=True)
    assert sum(b"content_block_delta" in frame for frame in play.frames) == 60
    assert (play.gap_ms, play.head_delay_ms) == (20, 5)
    usage = message(steered("output=40;input=1234"))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (1234, 40)


def test_an_error_answer_can_be_asked_for() -> None:
    play = steered("status=529;retry_after=2")
    assert play.status == 529
    assert ("retry-after", "2") in play.headers
    assert message(play)["error"]["type"] == "overloaded_error"
    assert message(steered("status=418"))["error"]["type"] == "invalid_request_error"
    assert message(steered("status=507"))["error"]["type"] == "api_error"


@pytest.mark.parametrize("end", list(End))
def test_every_bad_end_can_be_asked_for(end: End) -> None:
    play = steered(f"end={end};after=3", stream=True)
    assert play.ending is end


def test_a_stream_can_end_in_an_error_or_without_its_stop() -> None:
    errored = steered("end=error;after=4", stream=True)
    assert len(errored.frames) == 5
    assert errored.frames[-1].startswith(b"event: error\n")
    assert steered("end=nostop", stream=True).frames[-1].startswith(b"event: message_delta\n")


@pytest.mark.parametrize("user_id", ["user_123", "", "a=b", "frames=;gap_ms=x", "frames=-5", "=;;="])
def test_an_ordinary_user_id_asks_for_nothing(user_id: str) -> None:
    play = steered(user_id, stream=True)
    assert (play.status, play.gap_ms, play.ending, len(play.frames)) == (200, 0, End.CLEAN, 14)


@given(st.text(max_size=60))
def test_no_user_id_whatever_breaks_it(user_id: str) -> None:
    assert steered(user_id).pieces is not None
    assert isinstance(read_controls({"metadata": {"user_id": user_id}}), dict)


def test_the_answers_that_are_kept_are_bounded_and_marked_requests_are_not_kept() -> None:
    mimic = Mimic()
    for number in range(CACHED_BODIES_MAX + 5):
        assert message(answer(mimic, max_tokens=number % 16))["usage"]["output_tokens"] == number % 16
        answer(mimic, system=f"s{number}")
        answer(mimic, system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}], max_tokens=number)
    assert len(mimic._answers) <= CACHED_BODIES_MAX
    assert not any(b"cache_control" in body for body in mimic._answers)
