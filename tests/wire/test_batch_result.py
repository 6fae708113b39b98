"""A line of results is read for what it is, and what is none is nobody's."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.wire.batch_result import read_result


def line(result: object, custom_id: object = "msg_1") -> bytes:
    return msgspec.json.encode({"custom_id": custom_id, "result": result})


def test_a_message_stays_in_the_bytes_that_it_came_in() -> None:
    found = read_result(b'{"custom_id":"msg_1","result":{"type":"succeeded","message":{"a": 1.0}}}')

    assert found is not None and (found.custom_id, found.type, found.message) == ("msg_1", "succeeded", b'{"a": 1.0}')


def test_an_error_says_what_kind_it_is() -> None:
    told = {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "no"}}}
    found = read_result(line(told))

    assert found is not None and (found.error_type, found.error_message) == ("api_error", "no")


@pytest.mark.parametrize("kind", ["canceled", "expired"])
def test_what_did_not_run_says_only_so(kind: str) -> None:
    found = read_result(line({"type": kind}))

    assert found is not None and found.type == kind


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        line({"type": "unheard-of"}),
        line({}),
        line({"type": "expired"}, 7),
        line(None),
    ],
)
def test_what_is_no_result_is_none(wrong: bytes) -> None:
    assert read_result(wrong) is None


@given(st.binary(max_size=200))
def test_nothing_that_comes_is_an_exception(data: bytes) -> None:
    read_result(data)
