"""The model's own stream becomes a legal Anthropic stream, wherever the network cuts it.

Method: write native streams of every kind, cut them anywhere, and read what comes out as a strict client would.
"""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.errors import InvalidRequest, Unsupported
from faregate.upstreams.local_stream import Choice, State, read_refusal
from faregate.upstreams.port import Fault, FaultKind
from tests.upstreams.telling import (
    TIME,
    TOLL,
    WEATHER,
    check_legal,
    content,
    last,
    native,
    progress,
    text,
    translation,
)

FORCED = {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "get_weather"}}
ANY = {"tools": [WEATHER, TIME], "tool_choice": {"type": "any"}}


def told(*frames: bytes, **more: Any) -> list[dict[str, Any]]:
    return check_legal(translation(**more).feed(b"".join(frames)))


def ending(found: list[dict[str, Any]]) -> tuple[str, str | None]:
    delta = next(event["delta"] for event in found if event["type"] == "message_delta")
    return delta["stop_reason"], delta["stop_sequence"]


def test_a_text_is_told_in_full() -> None:
    found = told(progress(total=50, cache=30), text("Hel"), text("lo"), last(output=2, total=50, cache=30))

    assert content(found) == "Hello"
    assert ending(found) == ("end_turn", None)
    assert found[0]["message"] == {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {**found[-2]["usage"], "output_tokens": 1},
    }  # fmt: skip


@pytest.mark.parametrize(("cache", "shown"), [(0, 0), (3, 0), (20, 0), (21, 1), (49, 29)])
def test_usage_is_disjoint_and_without_the_salt(cache: int, shown: int) -> None:
    found = told(progress(total=50, cache=cache), last(total=50, cache=cache, output=4))

    for usage in (found[0]["message"]["usage"], found[-2]["usage"]):
        assert usage["cache_read_input_tokens"] == shown
        assert usage["input_tokens"] == 50 - TOLL.salt - shown
        assert usage["cache_creation_input_tokens"] == 0
    assert found[-2]["usage"]["output_tokens"] == 4


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (last("eos"), ("end_turn", None)),
        (last("word", word="5"), ("stop_sequence", "5")),
        (last("limit", output=100), ("max_tokens", None)),
        (last("limit", output=40), ("model_context_window_exceeded", None)),
    ],
)
def test_why_it_stopped_is_said_as_the_api_says_it(frame: bytes, expected: tuple[str, str | None]) -> None:
    assert ending(told(progress(), text("a"), frame)) == expected


def test_a_pre_warm_is_an_empty_message_that_generated_nothing() -> None:
    warmed = translation(max_tokens=0)
    found = check_legal(warmed.feed(progress() + text("K") + last("limit", output=1)))

    assert [event["type"] for event in found] == ["message_start", "message_delta", "message_stop"]
    assert ending(found) == ("max_tokens", None)
    assert found[-2]["usage"]["output_tokens"] == 0
    assert warmed.message()["content"] == []


def test_a_forced_tool_is_a_tool_use_block_with_its_input_in_pieces() -> None:
    found = told(progress(), text('{"ci'), text('ty":"Paris","unit":"c"}'), last(), **FORCED)

    assert found[1]["content_block"] == {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    assert found[2]["delta"] == {"type": "input_json_delta", "partial_json": '{"ci'}
    assert msgspec.json.decode(content(found)) == {"city": "Paris", "unit": "c"}
    assert ending(found) == ("tool_use", None)


def test_one_of_several_tools_is_named_before_its_input_comes() -> None:
    frames = [text(char) for char in '{ "name": "get_time",\n "input": {"city": "Pa}ri\\"s"} }']
    found = told(progress(), *frames, last(), **ANY)

    assert found[1]["content_block"]["name"] == "get_time"
    assert msgspec.json.decode(content(found)) == {"city": 'Pa}ri"s'}
    assert ending(found) == ("tool_use", None)


def test_a_plain_answer_says_what_the_stream_says() -> None:
    plain = translation(**ANY)
    plain.feed(progress() + text('{"name": "get_time", "input": {"city": "Paris"}}') + last(output=9))

    message = plain.message()
    assert message["content"] == [{"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {"city": "Paris"}}]
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("tool_use", 9)


def test_a_tool_cut_off_by_max_tokens_still_has_an_object_for_its_input() -> None:
    plain = translation(**FORCED)
    plain.feed(progress() + text('{"city": "Par') + last("limit", output=100))

    assert plain.message()["content"][0]["input"] == {}
    assert plain.message()["stop_reason"] == "max_tokens"


def test_a_model_that_is_not_held_to_the_schema_is_refused_at_its_first_word() -> None:
    unbound = translation(**FORCED)
    unbound.feed(progress() + text(" \n"))

    with pytest.raises(Unsupported, match="input_schema"):
        unbound.feed(text("Sure! "))
    assert unbound.state is State.COMPLETE


def test_a_held_answer_that_is_not_json_at_its_end_is_a_fault() -> None:
    form = {"format": {"type": "json_schema", "schema": {"type": "object"}}}

    with pytest.raises(Fault, match="was to write JSON"):
        translation(output_config=form).feed(progress() + text("{no") + last())


def test_a_prompt_over_the_slot_is_told_in_the_callers_own_count() -> None:
    trouble = {"type": "exceed_context_size_error", "n_prompt_tokens": 9_031, "n_ctx": 8_192, "message": "their words"}

    refused = read_refusal(msgspec.json.encode({"error": trouble}), 400, TOLL)
    with pytest.raises(InvalidRequest) as streamed:
        translation().feed(native(error=trouble))

    for error in (refused, streamed.value):
        assert isinstance(error, InvalidRequest)
        assert error.message == "prompt is too long: 9014 tokens > 8174 maximum"
        assert error.code == "context_length_exceeded"


@pytest.mark.parametrize("body", [b"", b"oops", b'{"error": {"type": "server_error", "message": "secret"}}'])
def test_any_other_refusal_is_a_fault_without_its_words(body: bytes) -> None:
    fault = read_refusal(body, 500, TOLL)

    assert isinstance(fault, Fault) and fault.kind is FaultKind.PROTOCOL
    assert "secret" not in str(fault)


@pytest.mark.parametrize("bad", [b"data: {\n\n", b"data: []\n\n", b'data: {"content": 3}\n\n', b'data: "\xff"\n\n'])
def test_nonsense_is_a_fault_and_nothing_follows_it(bad: bytes) -> None:
    broken = translation()
    broken.feed(progress())

    with pytest.raises(Fault) as fault:
        broken.feed(bad)
    assert fault.value.kind is FaultKind.PROTOCOL
    assert broken.feed(text("more")) == b""


def test_an_error_after_the_first_word_is_a_fault_whatever_it_says() -> None:
    running = translation()
    running.feed(progress() + text("a"))

    with pytest.raises(Fault):
        running.feed(native(error={"type": "exceed_context_size_error", "n_prompt_tokens": 1, "n_ctx": 1}))


pieces = st.lists(st.text(max_size=6), max_size=6)
endings = st.sampled_from([last("eos"), last("word", word="é"), last("limit", output=100), last("limit", output=1)])
cuts = st.lists(st.integers(0, 2_000), max_size=12)


def cut(whole: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(whole), *(place % (len(whole) + 1) for place in at)})
    return [whole[start:end] for start, end in pairwise(places)]


@given(pieces, endings, cuts)
def test_a_text_cut_anywhere_is_the_same_legal_stream_at_every_point(
    texts: list[str], end: bytes, at: list[int]
) -> None:
    whole = b": a comment\n\n" + progress() + b"".join(map(text, texts)) + end + text("after the end")
    teller, out = translation(), b""
    for piece in cut(whole, at):
        out += teller.feed(piece)
        check_legal(out, whole=False) if teller.state is not State.COMPLETE else check_legal(out)

    assert out == translation().feed(whole)
    assert content(check_legal(out)) == "".join(texts)


@given(
    st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.lists(st.integers(), max_size=3), max_size=4),
    st.sampled_from(['{"name":"get_time","input":%s}', ' {\n "name" : "get_time" ,\n "input" : %s\n}']),
    cuts,
)
def test_a_chosen_tools_input_is_found_wherever_its_text_is_cut(
    value: dict[str, Any], form: str, at: list[int]
) -> None:
    whole = form % msgspec.json.encode(value).decode()
    places = sorted({0, len(whole), *(place % (len(whole) + 1) for place in at)})
    choice = Choice()

    found = "".join(choice.feed(whole[start:end]) for start, end in pairwise(places))

    assert choice.name == "get_time"
    assert msgspec.json.decode(found) == value
