"""A Chat Completions request becomes a Messages request, or is refused by the name of what cannot be kept.

Method: each field and its values, by name; then any JSON at all, of which nothing but Malformed may be raised, and
nothing be written that the Messages API does not know.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.wire.chat import ADVICE, PASSED, REFUSED, STRANGERS_MAX
from faregate.wire.request import FIELDS, read
from faregate.wire.shape import Malformed
from tests.wire.chats import JSON, MAX_OUTPUT, MODEL, USER, Document, chat, saying, tool, translated, turns, written

NAMES = st.sampled_from(
    [*PASSED, *REFUSED, *ADVICE, "max_tokens", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls",
     "temperature", "top_p", "stop", "reasoning_effort", "response_format", "stream_options", "user", "messages"]
)  # fmt: skip


def test_the_smallest_request_asks_for_all_that_the_model_can_generate() -> None:
    asked = translated(chat())

    assert asked.document == {"model": MODEL, "max_tokens": MAX_OUTPUT, "messages": [USER]}
    assert (asked.dropped, asked.include_usage) == ((), False)


@given(turns(), st.booleans())
def test_a_request_that_makes_sense_is_one_to_the_messages_api(messages: list[Document], stream: bool) -> None:  # noqa: FBT001
    document = written(chat(messages=messages, stream=stream, tools=[tool()], stop="x", user="u", temperature=0.5))

    read(document, version="2023-06-01", beta=False)


@given(st.dictionaries(NAMES | st.text(max_size=4), JSON, max_size=6))
def test_any_object_is_translated_or_refused(given: Document) -> None:
    try:
        document = written({"messages": [USER], **given})
    except Malformed as refused:
        assert refused.message
        return
    assert set(document) <= set(FIELDS)


@given(JSON)
def test_any_message_is_translated_or_refused(message: Any) -> None:
    for anything in (message, {"role": "user", "content": message}, {"role": "assistant", "tool_calls": message}):
        try:
            written(saying(anything))
        except Malformed as refused:
            assert refused.path.startswith("messages.0")


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": None, "max_completion_tokens": None}, {}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
        ({"stop": []}, {}),
        ({"stop": None}, {}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 1.0, "top_p": 1}, {}),
        ({"top_p": 0.2}, {"top_p": 0.2}),
        ({"stream": True}, {"stream": True}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"reasoning_effort": "none"}, {}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "xhigh"}, {"output_config": {"effort": "xhigh"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"thinking": {"type": "adaptive"}, "top_k": 5}, {"thinking": {"type": "adaptive"}, "top_k": 5}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
        ({"n": 1, "logprobs": False, "modalities": ["text"], "frequency_penalty": 0.0, "store": False}, {}),
        (dict.fromkeys((*REFUSED, *ADVICE)), {}),
        ({"service_tier": "auto", "logit_bias": {}, "metadata": {}, "functions": []}, {}),
    ],
)
def test_a_field_is_written_under_the_name_that_it_has_there(given: Document, after: Document) -> None:
    asked = translated(chat(**given))

    assert asked.document == {**written(chat()), **after}
    assert asked.dropped == ()
    read(asked.document, version="2023-06-01", beta=False)


@pytest.mark.parametrize(
    ("given", "dropped"),
    [
        ({"temperature": 1.2}, ["temperature"]),
        ({"response_format": {"type": "json_object"}}, ["response_format"]),
        ({"temperature": 2, "seed": 4}, ["seed", "temperature"]),
        ({"frequency_penalty": 0.5, "logit_bias": {"1": -100}}, ["frequency_penalty", "logit_bias"]),
        ({"store": True, "metadata": {"a": "b"}, "service_tier": "flex"}, ["store", "metadata", "service_tier"]),
        ({"chat_template_kwargs": {}, "min-p": 1}, ["chat_template_kwargs", "min-p"]),
    ],
)
def test_what_only_steers_is_left_out_and_named(given: Document, dropped: list[str]) -> None:
    asked = translated(chat(**given))

    assert asked.document == written(chat())
    assert list(asked.dropped) == dropped


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "a", "format": "wav"}}, "audio"),
        ({"functions": [{"name": "look"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"reasoning_effort": "some"}, "reasoning_effort"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"a name": 1}, "a name"),
        ({"line\r\nbreak": 1}, "line\r\nbreak"),
        ({f"x{number}": 1 for number in range(STRANGERS_MAX + 1)}, f"x{STRANGERS_MAX}"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_name(given: Document, path: str) -> None:
    with pytest.raises(Malformed) as refused:
        written(chat(**given))
    assert refused.value.path == path


def test_who_asks_is_told_as_the_messages_api_takes_it() -> None:
    assert written(chat(user="u-1"))["metadata"] == {"user_id": "u-1"}
    for user in ("ann@example.com", "u" * 257):
        told = [written(chat(**{name: user}))["metadata"]["user_id"] for name in ("user", "safety_identifier")]
        assert told[0] == told[1] != user and len(told[0]) == 64


def test_without_messages_there_is_nothing_to_translate() -> None:
    for nothing in ({"model": MODEL}, {"model": MODEL, "messages": None}):
        with pytest.raises(Malformed, match="messages: Field required"):
            written(nothing)


@pytest.mark.parametrize(
    ("options", "wanted"), [({}, False), ({"include_usage": None}, False), ({"include_usage": True}, True)]
)
def test_usage_is_asked_for_in_the_options_of_a_stream(options: Document, wanted: bool) -> None:  # noqa: FBT001
    assert translated(chat(stream=True, stream_options=options)).include_usage is wanted


def test_a_place_in_the_document_is_called_what_the_caller_calls_it() -> None:
    asked = translated(saying({"role": "system", "content": "Be short."}, USER, {"role": "assistant"}, USER))
    assert asked.place("messages.1.content.0.source.data") == "messages.3"
    assert asked.place("max_tokens") == "max_completion_tokens"
    assert translated(chat(max_tokens=9)).place("max_tokens") == "max_tokens"
    for path, place in {
        "system.0.text": "system.0.text", "system": "messages", "stop_sequences": "stop",
        "stop_sequences.1": "stop.1", "metadata.user_id": "user",
        "tools.2.name": "tools.2.function.name", "tools.2.input_schema": "tools.2.function.parameters",
        "tools": "tools", "tools.0.cache_control.ttl": "tools.0.cache_control.ttl", "messages": "messages",
        "messages.9.content": "messages.9.content", "output_config.effort": "reasoning_effort",
        "output_config.format": "response_format", "model": "model", "thinking": "thinking",
    }.items():  # fmt: skip
        assert asked.place(path) == place
