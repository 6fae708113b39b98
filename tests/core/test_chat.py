"""A plain answer is OpenAI's once it is written, and whatever upstream sent it is an answer.

Method: messages with each kind of content; then any JSON and any bytes.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.chat import FINISHES, completion, finish, usage_shown
from faregate.core.ids import ulid
from faregate.wire.usage import Usage
from tests.wire.chats import JSON

MADE_AT_S = 1_795_745_953
ID = "msg_" + ulid(MADE_AT_S * 1_000 + 97, 5)
TEXT = {"type": "text", "text": "Hello"}


def message(*content: Any, **more: Any) -> bytes:
    usage = {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11}
    fields = {
        "id": ID,
        "type": "message",
        "model": "asked",
        "content": content,
        "stop_reason": "end_turn",
        "usage": usage,
    }
    return msgspec.json.encode({**fields, **more})


def written(*content: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(completion(message(*content, **more)))
    return found


def said(*content: Any) -> dict[str, Any]:
    found: dict[str, Any] = written(*content)["choices"][0]["message"]
    return found


def test_a_message_is_a_completion_under_its_own_id() -> None:
    assert written(TEXT) == {
        "id": ID,
        "object": "chat.completion",
        "created": MADE_AT_S,
        "model": "asked",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 23,
            "completion_tokens": 3,
            "total_tokens": 26,
            "prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 11},
        },
    }


def test_calls_carry_their_arguments_as_the_model_wrote_them() -> None:
    body = message("here").replace(
        b'"here"', b'{"type":"tool_use","id":"toolu_1","name":"look","input":{"at": 1e400, "in":"\\u00e9"}}'
    )
    (choice,) = json.loads(completion(body))["choices"]

    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {
            "id": "toolu_1",
            "type": "function",
            "function": {"name": "look", "arguments": '{"at": 1e400, "in":"\\u00e9"}'},
        }
    ]


def test_texts_are_one_and_thoughts_are_apart() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    shown = said(thought, TEXT, {"type": "redacted_thinking", "data": "x"}, TEXT)

    assert (shown["content"], shown["reasoning_content"]) == ("HelloHello", "Hm.")
    assert said()["content"] == ""


@pytest.mark.parametrize(("reason", "shown"), [*FINISHES.items(), ("pause_turn", "stop"), (None, "stop"), ([], "stop")])
def test_why_it_ended_is_said_in_openais_words(reason: Any, shown: str) -> None:
    assert written(TEXT, stop_reason=reason)["choices"][0]["finish_reason"] == finish(reason) == shown


@given(st.builds(Usage, **dict.fromkeys(Usage.__struct_fields__, st.integers(0, 10**9))))
def test_no_token_is_left_out_of_the_usage(usage: Usage) -> None:
    shown = usage_shown(usage)

    assert shown["total_tokens"] == usage.input_total + usage.output
    assert shown["prompt_tokens"] - sum(shown["prompt_tokens_details"].values()) == usage.input


@given(st.dictionaries(st.sampled_from(["content", "stop_reason", "usage", "id", "model"]), JSON))
def test_whatever_is_in_a_message_it_is_an_answer(fields: dict[str, Any]) -> None:
    assert isinstance(json.loads(completion(message(TEXT, **fields))), dict)


@given(st.binary(max_size=40))
def test_what_cannot_be_read_is_passed_on_as_it_came(tail: bytes) -> None:
    body = b'{"content":' + tail
    assert completion(body) == body or json.loads(completion(body))["object"] == "chat.completion"


def test_a_text_that_is_not_utf_8_is_still_an_answer() -> None:
    for body in (message(TEXT).replace(b"Hello", b"\xff"), message("here").replace(b'"here"', b"[" * 3_000)):
        assert completion(body) == body
