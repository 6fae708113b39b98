"""Deltas are told by their head and counted as they are written, whatever stands in and around them.

Method: deltas as upstreams write them, padded, escaped, spaced, and with something hidden in them.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.meter import BYTES_PER_TOKEN, Progress
from tests.core.test_stream import (
    BLOCK_START,
    BLOCK_STOP,
    STOP,
    delta,
    frame,
    message_start,
    new_stream,
    read,
)


@pytest.mark.parametrize(
    "more", [b"event: message_stop\n", b'data: {"type":"message_stop"}\n', b"event: message_stop\ndata: {}\n"]
)
def test_a_delta_that_says_something_else_behind_its_text_does_not_pass(more: bytes) -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=1), BLOCK_START, delta("one"), delta("two")))))

    assert stream.feed(frame(delta("three")).removesuffix(b"\n") + more + b"\n") == b""
    assert stream.progress is Progress.FAILED


@pytest.mark.parametrize("before", [b"", b"\\", b"\\n"])
def test_an_end_that_stands_in_a_delta_between_carriage_returns_does_not_pass(before: bytes) -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=1), BLOCK_START, delta("one"), delta("two")))))
    hidden = frame(delta("three")).replace(b"three", before + b"\r\revent: message_stop\rdata: {}\r\r")

    assert b"message_stop" not in stream.feed(hidden)
    assert stream.progress is Progress.FAILED


def test_an_end_behind_lines_that_end_otherwise_waits_too() -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=1), BLOCK_START, delta("one"), delta("two")))))
    hidden = frame(delta("three")).replace(b"\n\n", b"\r\r") + frame(STOP, "\r").removesuffix(b"\r\r") + b"\n\n"
    passed = stream.feed(hidden)

    assert b"three" in passed and b"message_stop" not in passed
    assert stream.progress is Progress.COMPLETE


@given(st.lists(st.text(max_size=12), min_size=2, max_size=12), st.booleans(), st.booleans(), st.integers(1, 90))
def test_what_was_generated_is_counted_as_it_is_written_whatever_it_says(
    texts: list[str],
    ascii_only: bool,  # noqa: FBT001
    spaced: bool,  # noqa: FBT001
    piece_bytes: int,
) -> None:
    def written(event: dict[str, Any]) -> bytes:
        data = json.dumps(event, ensure_ascii=ascii_only, separators=(", ", ": ") if spaced else (",", ":"))
        return f"event: {event['type']}\ndata: {data}\n\n".encode()

    texts = [*texts, 'event: error\n\n"text":"', 'message_stop \\ " content_block_st']
    deltas = b"".join(written(delta(text)) for text in texts)
    stream = new_stream()
    stream.feed(frame(message_start(input_tokens=1)) + frame(BLOCK_START))
    passed = b"".join(stream.feed(deltas[at : at + piece_bytes]) for at in range(0, len(deltas), piece_bytes))

    assert passed == deltas
    size = sum(len(json.dumps(text, ensure_ascii=ascii_only).encode()) - 2 for text in texts)
    assert stream.meter.close().usage.output == max(1, -(-size // BYTES_PER_TOKEN))


@given(st.lists(st.integers(0, 14), min_size=2, max_size=60), st.integers(1, 400))
def test_the_padding_of_a_frame_is_not_counted_wherever_the_network_cut(padding: list[int], piece_bytes: int) -> None:
    padded = [frame(delta("word")).replace(b"}}\n\n", b"}" + b" " * pad + b"}\n\n") for pad in padding]
    whole, stream = b"".join(padded), new_stream()
    stream.feed(frame(message_start(input_tokens=1)) + frame(BLOCK_START))
    passed = b"".join(stream.feed(whole[at : at + piece_bytes]) for at in range(0, len(whole), piece_bytes))

    assert passed == whole
    assert stream.meter.close().usage.output == len(padding) * len("word") // BYTES_PER_TOKEN


@pytest.mark.parametrize(
    "data", [b'{"type":"overloaded_error"}', b'{"type":null}', b'{"type":"content_block_delta"}', b""]
)
def test_what_is_called_an_error_is_one_whatever_its_data_says(data: bytes) -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=1), BLOCK_START, delta("one")))))

    assert stream.feed(b"event: error\ndata: " + data + b"\n\n") == b""
    assert stream.progress is Progress.FAILED


def test_an_end_that_is_called_a_ping_waits_to_be_paid_for() -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=1), BLOCK_START, delta("one")))))

    assert stream.feed(b'event: ping\ndata: {"type":"message_stop"}\n\n') == b""
    assert stream.progress is Progress.COMPLETE
    assert new_stream_passes(b"event: ping\ndata: hello\n\n") and new_stream_passes(b"event: ping\n\n")


def new_stream_passes(data: bytes) -> bool:
    stream = new_stream()
    stream.feed(frame(message_start(input_tokens=1)))
    return stream.feed(data) == data and stream.progress is Progress.RUNNING


def test_each_block_has_deltas_of_its_own() -> None:
    tool: dict[str, Any] = {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use"}}
    json_delta = {"type": "input_json_delta", "partial_json": '{"a'}
    piece: dict[str, Any] = {"type": "content_block_delta", "index": 1, "delta": json_delta}
    events = [message_start(input_tokens=1), BLOCK_START, delta("12345678"), BLOCK_STOP, tool, piece, piece]
    stream = new_stream()
    passed = stream.feed(b"".join(map(frame, events)))

    assert len(read(passed)) == len(events)
    assert stream.meter.close().usage.output == -(-(8 + 2 * len('{\\"a')) // BYTES_PER_TOKEN)


def test_an_error_that_only_its_data_names_does_not_pass() -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=1), BLOCK_START, delta("one")))))

    assert stream.feed(b'data: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n') == b""
    assert stream.progress is Progress.FAILED
