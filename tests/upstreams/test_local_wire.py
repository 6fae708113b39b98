"""Every request that admission passes becomes text for a chat template, or a refusal that names the block."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.errors import InvalidRequest, Unsupported
from faregate.upstreams.local_wire import DEFAULT_SYSTEM, SALT_DIGITS, Plan, Shape, chat, completion, plan, salt
from tests.upstreams.telling import TIME, USER, WEATHER


def planned(**more: Any) -> Plan:
    return plan({"messages": USER, "max_tokens": 100, **more})


def turns(*messages: dict[str, Any]) -> list[dict[str, str]]:
    return planned(messages=list(messages)).turns


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def test_sampling_is_the_apis_where_the_caller_says_nothing() -> None:
    request = completion(planned(), "prompt")

    assert (request["temperature"], request["top_p"], request["top_k"], request["min_p"]) == (1.0, 1.0, 0, 0.0)


def test_sampling_is_the_callers_where_he_says_it_zero_included() -> None:
    request = completion(planned(temperature=0, top_p=0.0, top_k=5), "prompt")

    assert (request["temperature"], request["top_p"], request["top_k"]) == (0, 0.0, 5)


def test_a_pre_warm_asks_for_the_one_token_that_cannot_be_left_out() -> None:
    assert completion(planned(max_tokens=0), "prompt")["n_predict"] == 1
    assert completion(planned(max_tokens=7), "prompt")["n_predict"] == 7


def test_the_salt_comes_before_all_that_the_caller_wrote() -> None:
    first, *rest = chat(planned(system="Be kind."), "1234\n")["messages"]

    assert first == {"role": "system", "content": "1234\nBe kind."}
    assert rest == USER


def test_without_a_system_text_there_is_still_one_for_the_salt() -> None:
    assert chat(planned(), "1234\n")["messages"][0]["content"] == f"1234\n{DEFAULT_SYSTEM}"


def test_a_salt_is_digits_the_same_for_a_wallet_and_another_for_another() -> None:
    line = salt(b"secret", "w1")

    assert line[:-1].isdigit() and len(line) == SALT_DIGITS + 1 and line[-1] == "\n"
    assert salt(b"secret", "w1") == line
    assert salt(b"secret", "w2") != line
    assert salt(b"another", "w1") != line


def test_system_blocks_are_joined_and_cache_marks_ignored() -> None:
    blocks = [
        {"type": "text", "text": "One.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Two."},
    ]

    assert planned(system=blocks).system == "One.\n\nTwo."


def test_what_one_side_says_in_a_row_is_one_turn() -> None:
    assert turns(user("a"), user([{"type": "text", "text": "b"}]), assistant("c"), user("d")) == [
        user("a\n\nb"), assistant("c"), user("d"),
    ]  # fmt: skip


def test_a_system_message_in_the_midst_is_carried_by_the_user() -> None:
    assert turns(user("a"), {"role": "system", "content": "Be brief."}) == [user("a\n\n[system] Be brief.")]


def test_a_tool_loop_is_told_as_text() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {"city": "Paris"}}
    good = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "noon"}]}
    bad = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such city", "is_error": True}
    empty = {"type": "tool_result", "tool_use_id": "toolu_3"}

    assert turns(user("When?"), assistant([call]), user([good, bad, empty])) == [
        user("When?"),
        assistant('[call get_time] {"city":"Paris"}'),
        user("[result] noon\n\n[error] no such city\n\n[result] "),
    ]


def test_thinking_is_dropped_and_a_turn_of_nothing_else_is_no_prefill() -> None:
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}]

    assert turns(user("a"), assistant([*thinking, {"type": "text", "text": "b"}])) == [user("a"), assistant("b")]
    assert turns(user("a"), assistant(thinking)) == [user("a")]


@pytest.mark.parametrize("kind", ["image", "document"])
def test_an_image_or_document_is_a_422_that_names_the_place_and_the_reason(kind: str) -> None:
    block = {"type": kind, "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    inside = {"type": "tool_result", "tool_use_id": "t", "content": [block]}

    with pytest.raises(Unsupported, match=r"messages\.0\.content\.1: .*vision needs a real upstream") as refused:
        turns(user([{"type": "text", "text": "Look:"}, block]))
    with pytest.raises(Unsupported, match=r"messages\.0\.content\.0\.content\.0: "):
        turns(user([inside]))

    assert refused.value.status == 422


def test_a_block_that_only_a_real_upstream_reads_is_a_422() -> None:
    with pytest.raises(Unsupported, match=r"messages\.0\.content\.0: 'container_upload' blocks need a real upstream"):
        turns(user([{"type": "container_upload", "file_id": "f"}]))


@pytest.mark.parametrize("choice", [None, {"type": "auto"}, {"type": "none"}])
def test_tools_that_are_not_forced_leave_an_answer_in_text(choice: Any) -> None:
    result = planned(tools=[WEATHER], tool_choice=choice)

    assert (result.shape, result.schema, result.system) == (Shape.TEXT, None, DEFAULT_SYSTEM)


def test_a_forced_tool_is_held_to_its_own_schema_and_told_of() -> None:
    result = planned(tools=[TIME, WEATHER], tool_choice={"type": "tool", "name": "get_weather"}, stop_sequences=["x"])

    assert (result.shape, result.tool, result.stop) == (Shape.TOOL, "get_weather", [])
    assert result.schema is not None and list(result.schema["properties"]) == ["city", "unit"]
    assert "The weather in a city" in result.system and "get_time" not in result.system


def test_any_of_one_is_that_one_and_any_of_several_is_a_choice() -> None:
    one = planned(tools=[WEATHER], tool_choice={"type": "any"})
    several = planned(tools=[WEATHER, TIME], tool_choice={"type": "any"})

    assert (one.shape, one.tool) == (Shape.TOOL, "get_weather")
    assert (several.shape, several.tool) == (Shape.CHOICE, None)
    assert several.schema is not None and len(several.schema["anyOf"]) == 2


def test_a_forced_tool_without_a_schema_is_a_422() -> None:
    typed = {"type": "bash_20250124", "name": "bash"}

    with pytest.raises(Unsupported, match="input_schema"):
        planned(tools=[typed], tool_choice={"type": "any"})
    assert planned(tools=[typed, TIME], tool_choice={"type": "any"}).tool == "get_time"


def test_a_forced_tool_that_is_not_given_is_a_400() -> None:
    with pytest.raises(InvalidRequest, match=r"tool_choice\.name: Tool 'nope' not found"):
        planned(tools=[TIME], tool_choice={"type": "tool", "name": "nope"})


def test_an_output_format_is_text_that_is_held_to_its_schema() -> None:
    form = {"type": "json_schema", "schema": TIME["input_schema"]}
    result = planned(output_config={"format": form, "effort": "low"}, stop_sequences=["x", ""])

    assert (result.shape, result.tool, result.stop) == (Shape.TEXT, None, ["x"])
    assert completion(result, "prompt")["json_schema"]["required"] == ["city"]


def test_a_schema_that_is_wrong_is_named_by_its_place_in_the_request() -> None:
    with pytest.raises(InvalidRequest, match=r"output_config\.format\.schema\.type: "):
        planned(output_config={"format": {"type": "json_schema", "schema": {"type": "nope"}}})
    with pytest.raises(InvalidRequest, match=r"tools\.1\.input_schema\.type: "):
        broken = {"name": "broken", "input_schema": {"type": "nope"}}
        planned(tools=[TIME, broken], tool_choice={"type": "tool", "name": "broken"})
    with pytest.raises(Unsupported, match=r"output_config\.format\.type: "):
        planned(output_config={"format": {"type": "grammar"}})


blocks = st.sampled_from(
    [
        {"type": "text", "text": "words"},
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": [1]}},
        {"type": "tool_result", "tool_use_id": "t", "content": None},
        {"type": "search_result", "source": "s", "title": "T", "content": [{"type": "text", "text": "found"}]},
    ]
)
contents = st.text(max_size=10) | st.lists(blocks, max_size=3)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": contents}), min_size=1
)


@given(messages)
def test_sides_always_alternate_and_say_text(given_messages: list[dict[str, Any]]) -> None:
    told = turns(*given_messages)

    assert told
    assert all(set(turn) == {"role", "content"} and isinstance(turn["content"], str) for turn in told)
    assert all(one["role"] != next_["role"] for one, next_ in pairwise(told))
    msgspec.json.encode(chat(planned(messages=given_messages), "1\n"))
