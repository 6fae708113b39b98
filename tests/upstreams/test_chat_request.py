"""A request says to the peer what it said to us: tools, sampling and form, or a refusal that names the parameter."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.errors import InvalidRequest, Unsupported
from faregate.upstreams.chat_request import prefill, stops, translate
from faregate.upstreams.chat_stream import Translation
from faregate.wire.request import FIELDS, Malformed, read
from tests.upstreams.chat_peer import call, whole
from tests.upstreams.chat_rules import asked
from tests.wire.bodies import changed, rich

USER = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Of a city.", "input_schema": SCHEMA}


def told(*, official: bool = False, stream: bool = False, **more: Any) -> dict[str, Any]:
    document = {"model": "claude-haiku-4-5", "messages": USER, "max_tokens": 100, **more}
    return translate(document, model="qwen3", official=official, stream=stream)


def test_the_least_request_is_the_least_there() -> None:
    assert told() == {"model": "qwen3", "messages": USER, "max_tokens": 100}


def test_a_stream_asks_for_its_usage() -> None:
    body = told(stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_the_cap_has_openais_newer_name_at_openai_alone() -> None:
    assert told(official=True)["max_completion_tokens"] == 100
    assert "max_tokens" not in told(official=True)


def test_a_pre_warm_asks_for_the_least_that_there_is() -> None:
    assert told(max_tokens=0)["max_tokens"] == 1


def test_sampling_and_stops_are_passed_on() -> None:
    body = told(temperature=0, top_p=0.5, top_k=3, stop_sequences=["END", ""], metadata={"user_id": "u1"})
    assert {name: body[name] for name in ("temperature", "top_p", "top_k", "stop", "user")} == {
        "temperature": 0, "top_p": 0.5, "top_k": 3, "stop": ["END"], "user": "u1"
    }  # fmt: skip
    assert stops({"stop_sequences": ["END", ""]}) == ["END"]
    assert stops({}) == []


def test_a_user_that_is_longer_than_peers_take_is_told_by_its_hash() -> None:
    assert told(metadata={"user_id": "u" * 64})["user"] == "u" * 64
    long = [told(metadata={"user_id": f"user_{at}_" + "a" * 100})["user"] for at in (1, 1, 2)]
    assert [len(user) for user in long] == [64] * 3 and long[0] == long[1] != long[2]


def test_a_tool_that_takes_nothing_has_properties_that_are_none() -> None:
    schemas: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"type": "object", "properties": {"x": {}}}, {"type": "object", "properties": {"x": {}}}),
        ({"anyOf": []}, {"anyOf": []}),
    ]
    for schema, there in schemas:
        tool = {"name": "t", "input_schema": schema}
        assert told(tools=[tool])["tools"][0]["function"]["parameters"] == there


def test_openai_itself_knows_no_top_k() -> None:
    with pytest.raises(Unsupported, match=r"^top_k: "):
        told(official=True, top_k=3)


def test_a_tool_is_a_function_and_its_marks_stay_away() -> None:
    body = told(tools=[{**WEATHER, "cache_control": {"type": "ephemeral"}, "strict": True, "type": "custom"}])
    function = {"name": "weather", "description": "Of a city.", "parameters": SCHEMA, "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == "auto"
    assert "parallel_tool_calls" not in body


@pytest.mark.parametrize(
    ("choice", "there"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
        ({"type": "none"}, "none"),
    ],
)
def test_each_choice_of_tools_has_its_own_word(choice: dict[str, Any], there: Any) -> None:
    assert told(tools=[WEATHER], tool_choice=choice)["tool_choice"] == there
    once = told(tools=[WEATHER], tool_choice={**choice, "disable_parallel_tool_use": True})
    assert once["parallel_tool_calls"] is False


def test_a_choice_without_tools_is_none_to_make() -> None:
    assert "tool_choice" not in told(tool_choice={"type": "auto"}) | told(tools=[], tool_choice={"type": "none"})


@pytest.mark.parametrize("kind", ["bash_20250124", "web_search_20260209"])
def test_tools_that_only_anthropics_models_know_are_refused_by_their_path(kind: str) -> None:
    with pytest.raises(Unsupported, match=rf"^tools\.1\.type: '{kind}'"):
        told(tools=[WEATHER, {"type": kind, "name": "x"}])


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_a_schema_for_the_answer_is_a_response_format(name: str) -> None:
    form: dict[str, Any] = {"type": "json_schema", "schema": SCHEMA}
    asked: dict[str, Any] = {name: {"format": form} if name == "output_config" else form}
    body = told(**asked)
    assert body["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}
    }  # fmt: skip


def test_a_form_that_is_no_schema_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"^output_format\.type: "):
        told(output_format={"type": "grammar"})


def test_what_only_advises_is_left_out() -> None:
    body = told(
        thinking={"type": "adaptive"}, output_config={"effort": "high"}, cache_control={"type": "ephemeral"},
        service_tier="auto", speed="standard", context_management={"edits": []}, diagnostics={},
    )  # fmt: skip
    assert body == told()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcp_servers", [{"type": "url"}]), ("container", "c"), ("thread", {"type": "create"}),
        ("fallbacks", "default"), ("compaction", {"type": "summarize"}),
        ("billing_policy", {"type": "x"}), ("fallback_credit_token", "t"),
    ],
)  # fmt: skip
def test_what_only_anthropics_servers_can_do_is_refused_by_its_name(name: str, value: Any) -> None:
    assert name in FIELDS
    with pytest.raises(Unsupported, match=rf"^{name}: "):
        told(**{name: value})


def test_the_answers_first_words_are_gone_on_from() -> None:
    begun = [*USER, {"role": "assistant", "content": "Once"}]
    body = told(messages=begun)
    assert (body["continue_final_message"], body["add_generation_prompt"], prefill(body)) == (True, False, "Once")
    assert prefill(told()) == ""
    with pytest.raises(InvalidRequest, match=r"^messages\.1\.role: This model does not support assistant message pre"):
        told(official=True, messages=begun)


IDS = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
INPUTS = st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.integers(0, 9), st.none()), max_size=3)


@given(st.text(max_size=12), st.lists(st.tuples(IDS, INPUTS), max_size=3, unique_by=lambda pair: pair[0]))
def test_what_a_peer_said_comes_back_to_it_as_it_said_it(text: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    said = [call(None, json.dumps(given_), call_id=call_id, name="weather") for call_id, given_ in calls]
    answer = Translation(asked(shows_thinking=True)).whole(
        whole(content=text, reasoning="Hm.", tool_calls=said, finish="tool_calls" if calls else "stop")
    )
    assert isinstance(answer, dict)
    turns = [*USER, {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": "And?"}]
    back = [message for message in told(messages=turns)["messages"] if message["role"] == "assistant"]

    heard = [
        (made["id"], json.loads(made["function"]["arguments"])) for turn in back for made in turn.get("tool_calls", [])
    ]
    assert heard == calls
    assert [turn["content"] for turn in back] == ([text if text.strip() else None] if text.strip() or calls else [])


def places(value: Any, path: str = "") -> list[str]:
    """Every place in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [f"{path}.{step}".lstrip(".") for step, _ in inner]
    return found + [place for step, each in inner for place in places(each, f"{path}.{step}".lstrip("."))]


NONSENSE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.sampled_from(["", "x", "text", "file", "enabled"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "enabled", "x"]), inner),
    max_leaves=4,
)


@given(st.data())
def test_whatever_the_door_lets_in_is_translated_or_refused(data: st.DataObject) -> None:
    document = changed(rich(), "messages.0.content.2", LAW)
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.sampled_from(places(document)))
        if data.draw(st.booleans()):
            place = f"{place.rpartition('.')[0]}.{data.draw(st.sampled_from(sorted(MORE)))}".lstrip(".")
        try:
            document = changed(document, place, data.draw(NONSENSE))
        except (KeyError, TypeError, IndexError, ValueError):
            continue
    try:
        read(document, version="2023-06-01", beta=data.draw(st.booleans()))
    except Malformed:
        return
    try:
        json.dumps(translate(document, model="m", official=data.draw(st.booleans()), stream=True))
    except (Unsupported, InvalidRequest) as refusal:
        assert ": " in refusal.message


LAW = {
    "type": "document",
    "source": {"type": "content", "content": [{"type": "text", "text": "No."}]},
    "citations": {"enabled": False},
}
MORE = {"citations", "title", "context", "strict", "description", "is_error", "output_format", "thinking", "user_id",
        "disable_parallel_tool_use", "top_k", "container", "content", "cache_control"}  # fmt: skip


def test_a_request_of_nearly_everything_is_translated_whole() -> None:
    body = translate(changed(rich(), "messages.0.content.2", LAW), model="m", official=False, stream=True)
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
