"""A conversation is written anew and nothing of it is lost: who said what, in which order, and what tools answered.

Method: conversations that make sense, made at random, and the few shapes that do not, each by its own path.
"""

from typing import Any

import pytest
from hypothesis import given

from faregate.wire.chat_messages import conversation
from faregate.wire.request import read
from faregate.wire.shape import Malformed
from tests.wire.chats import PIXEL, USER, Document, called, chat, result, saying, turns, written

DEEP = '{"a":' * 300 + "1" + "}" * 300
MARK = {"type": "ephemeral"}


def said(content: Any) -> list[str]:
    """The texts of a content, whichever side's it is."""
    return [content] if isinstance(content, str) else [block["text"] for block in content if "text" in block]


def messages(*given: Document) -> list[Document]:
    found: list[Document] = written(saying(*given))["messages"]
    return found


@given(turns())
def test_every_word_comes_through_in_its_order_under_who_said_it(given: list[Document]) -> None:
    document = written(saying(*given))

    for roles, role in ((("user",), "user"), (("assistant",), "assistant")):
        before = [text for message in given if message["role"] in roles for text in said(message["content"] or "")]
        after = [text for m in document["messages"] if m["role"] == role for text in said(m["content"])]
        assert after == [text for text in before if text]
    instructed = [t for m in given if m["role"] in ("system", "developer") for t in said(m["content"])]
    assert said(document.get("system", [])) == instructed


@given(turns())
def test_what_is_called_is_answered_at_the_head_of_the_next_turn(given: list[Document]) -> None:
    document = written(saying(*given))
    answered = {m["tool_call_id"]: m["content"] for m in given if m["role"] == "tool"}

    for before, after in zip(document["messages"], document["messages"][1:], strict=False):
        made = [block["id"] for block in before["content"] if isinstance(block, dict) and block["type"] == "tool_use"]
        if made:
            results = [block for block in after["content"][: len(made)] if block["type"] == "tool_result"]
            assert after["role"] == "user" and {block["tool_use_id"] for block in results} == set(made)
            for block in results:
                assert block["content"] == answered.pop(block["tool_use_id"])
    assert answered == {}


@given(turns())
def test_what_is_written_is_a_request_to_the_messages_api_and_knows_where_it_came_from(given: list[Document]) -> None:
    _, after, origins = conversation(given)

    read({"model": "m", "max_tokens": 1, "messages": after}, version="2023-06-01", beta=False)
    roles = [given[origin]["role"].replace("tool", "user") for origin in origins]
    assert roles == [message["role"] for message in after] and origins == sorted(set(origins))


def test_one_instruction_stays_as_it_was_and_several_are_blocks() -> None:
    assert written(saying({"role": "developer", "content": "Be short."}, USER))["system"] == "Be short."
    several = saying({"role": "system", "content": "One."}, USER, {"role": "developer", "content": "Two."})
    assert written(several)["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert "system" not in written(saying(USER))


def test_results_come_first_though_somebody_spoke_between_them() -> None:
    spoken = {"role": "assistant", "content": None, "tool_calls": [called(1, '{"at": 1}'), called(2, "")]}
    given: list[Document] = [
        USER,
        spoken,
        result(1),
        {"role": "user", "content": "and then?"},
        result(2, [{"type": "text", "text": "b"}]),
    ]

    assert messages(*given)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": 1}},
                {"type": "tool_use", "id": "call_2", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "seen"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "b"}]},
                {"type": "text", "text": "and then?"},
            ],
        },
    ]


@pytest.mark.parametrize("nothing", [{"content": ""}, {"content": None}, {"content": []}, {"content": " \n"}, {}])
def test_a_turn_in_which_the_model_said_nothing_is_none(nothing: Document) -> None:
    assert messages(USER, {"role": "assistant", **nothing}, USER) == [USER, USER]


def test_a_text_of_nothing_is_none_wherever_something_else_is_said() -> None:
    nothing, image = {"type": "text", "text": " "}, {"type": "image_url", "image_url": {"url": "https://x.example/y"}}
    document = written(saying(
        {"role": "system", "content": [nothing]}, {"role": "user", "content": ""},
        {"role": "user", "content": [nothing, image]},
        {"role": "assistant", "content": [nothing], "tool_calls": [called(1)]},
        {"role": "user", "content": "\n"}, result(1, [nothing]), {"role": "user", "content": [nothing]},
    ))  # fmt: skip
    assert "system" not in document
    asked, _, answered = document["messages"]
    assert [block["type"] for block in asked["content"]] == ["image"]
    assert answered["content"] == [{"type": "tool_result", "tool_use_id": "call_1", "content": ""}]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_that_stand_alone_are_what_is_asked(role: str) -> None:
    document = written(saying({"role": role, "content": "Say hello."}))
    assert "system" not in document and document["messages"] == [{"role": "user", "content": "Say hello."}]
    assert conversation([{"role": role, "content": " x"}, {"role": "assistant", "content": ""}])[2] == [0]
    assert messages() == messages({"role": role, "content": ""}) == []


def test_who_says_nothing_at_all_is_heard_and_answered_by_upstream() -> None:
    assert messages({"role": "user", "content": ""}) == [{"role": "user", "content": ""}]


def test_an_id_that_another_model_was_given_is_one_that_the_messages_api_takes() -> None:
    call = {**called(1), "id": "functions.look:0"}
    spoken, answered = messages(USER, {"role": "assistant", "content": None, "tool_calls": [call]},
                                {**result(1), "tool_call_id": "functions.look:0"})[1:]  # fmt: skip
    assert spoken["content"][0]["id"] == answered["content"][0]["tool_use_id"] == "functions_look_0"


def test_a_refusal_is_what_the_model_said() -> None:
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    field = {"role": "assistant", "content": None, "refusal": "No."}
    for spoken in (part, field):
        assert messages(USER, spoken)[1] == {"role": "assistant", "content": [{"type": "text", "text": "No."}]}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        ),
        (
            {"type": "image_url", "image_url": f"DATA:image/JPG;base64,{PIXEL}"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PIXEL}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERi0="}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        ),
    ],
)
def test_a_part_becomes_a_block_and_keeps_its_mark(part: Document, block: Document) -> None:
    parts = [part, {**part, "cache_control": MARK}]

    assert messages({"role": "user", "content": parts})[0]["content"] == [block, {**block, "cache_control": MARK}]


def test_a_mark_on_a_message_stands_on_its_last_block() -> None:
    given: list[Document] = [
        {"role": "system", "content": "Be short.", "cache_control": MARK},
        {**USER, "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "cache_control": MARK},
        {"role": "assistant", "tool_calls": [called(1)]},
        {**result(1), "cache_control": MARK},
    ]
    document = written(saying(*given))

    assert document["system"] == [{"type": "text", "text": "Be short.", "cache_control": MARK}]
    first, _, last = document["messages"]
    assert first["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": MARK}]
    assert last["content"][0] == {
        "type": "tool_result", "tool_use_id": "call_1", "content": "seen", "cache_control": MARK,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("hello", ""),
        ({"content": "hello"}, ".role"),
        ({"role": "function", "content": "hello"}, ".role"),
        ({"role": "user"}, ".content"),
        ({"role": "user", "content": None}, ".content"),
        ({"role": "user", "content": ["hello"]}, ".content.0"),
        ({"role": "user", "content": [{"text": "hello"}]}, ".content.0.type"),
        ({"role": "user", "content": [{"type": "text"}]}, ".content.0.text"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, ".content.0.type"),
        ({"role": "system", "content": [{"type": "image_url", "image_url": "https://a"}]}, ".content.0.type"),
        ({"role": "user", "content": [{"type": "image_url"}]}, ".content.0.image_url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}, ".content.0.image_url.url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "data:,a"}]}, ".content.0.image_url.url"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}, ".content.0.file.file_id"),
        ({"role": "tool", "content": "seen"}, ".tool_call_id"),
        ({"role": "tool", "tool_call_id": "call_1"}, ".content"),
        ({"role": "assistant", "tool_calls": {}}, ".tool_calls"),
        ({"role": "assistant", "tool_calls": [called(1, "[]")]}, ".tool_calls.0.function.arguments"),
        ({"role": "assistant", "tool_calls": [called(1, DEEP)]}, ".tool_calls.0.function.arguments"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}, ".tool_calls.0.type"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}, ".tool_calls.0.id"),
        ({"role": "assistant", "function_call": {"name": "a", "arguments": "{}"}}, ".function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, ".audio"),
    ],
)  # fmt: skip
def test_a_message_that_is_none_is_refused_by_its_own_path(message: Any, path: str) -> None:
    with pytest.raises(Malformed) as refused:
        written(saying(USER, message))
    assert refused.value.path == f"messages.1{path}"


@pytest.mark.parametrize("value", ["hello", {}, 1])
def test_a_conversation_is_an_array(value: Any) -> None:
    with pytest.raises(Malformed) as refused:
        written(chat(messages=value))
    assert refused.value.path == "messages"
