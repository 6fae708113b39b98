"""A plain answer passes as it came but for its id and its model, and what is not a message is not one.

Method: any message, any fields in it, and bytes that are something else.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.wire.answer import read_plain

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in ("id", "model", "type")), VALUES, max_size=5
)


def encode(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")


@given(FIELDS)
def test_every_field_but_id_and_model_passes_and_keeps_its_place(fields: dict[str, Any]) -> None:
    document = {"id": "theirs", "type": "message", "model": "theirs", **fields}
    plain = read_plain(encode(document), message_id="msg_ours", model="asked")

    assert plain is not None
    passed = json.loads(plain.body)
    assert passed == {**document, "id": "msg_ours", "model": "asked"}
    assert list(passed) == list(document)


def test_a_number_passes_digit_by_digit() -> None:
    body = b'{"type":"message","content":[],"x":0.1000000000000000055511151231257827,"y":1E400}'
    plain = read_plain(body, message_id="m", model="a")

    assert plain is not None and b"0.1000000000000000055511151231257827" in plain.body and b"1E400" in plain.body


def test_usage_is_handed_over_unjudged_and_content_by_its_length() -> None:
    plain = read_plain(b'{"type":"message","usage":{"input_tokens":-3},"content": [1, 2]}', message_id="m", model="a")

    assert plain is not None
    assert plain.usage == {"input_tokens": -3}
    assert plain.content_bytes == len(b"[1, 2]")


def test_an_answer_without_usage_or_content_is_still_a_message() -> None:
    plain = read_plain(b'{"type":"message"}', message_id="m", model="a")

    assert plain is not None
    assert (plain.usage, plain.content_bytes) == (None, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b'{"type":"error"}',
        b'{"type":["message"]}',
        b'{"usage":{}}',
        b'{"type":"message"',
        b'{"type":"message"}}',
        b'{"type":"message","usage":' + b"[" * 100_000,
        b'{"type":"\xff"}',
        b'{"type":"message","usage":"\xff"}',
    ],
)
def test_what_is_not_a_message_is_not_one(body: bytes) -> None:
    assert read_plain(body, message_id="m", model="a") is None
