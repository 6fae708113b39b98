"""A caller must see upstream's stream, whole frames of it, with our id - and no end before it is paid for.

Method: write a well-formed stream, cut it anywhere, and compare with facts about the whole.
"""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.ledger import Basis
from faregate.core.meter import Meter, Progress
from faregate.core.stream import Stream
from faregate.wire import sse
from faregate.wire.usage import Usage


def frame(event: dict[str, Any], end: str = "\n") -> bytes:
    return f"event: {event['type']}{end}data: {json.dumps(event, ensure_ascii=False)}{end}{end}".encode()


def message_start(**usage: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "msg_theirs", "type": "message", "role": "assistant", "model": "theirs", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage, "extra": {"kept": [1, 2]},
    }  # fmt: skip
    return {"type": "message_start", "message": message}


def delta(text: str, kind: str = "text") -> dict[str, Any]:
    shape = {"text": "text_delta", "partial_json": "input_json_delta", "thinking": "thinking_delta"}[kind]
    return {"type": "content_block_delta", "index": 0, "delta": {"type": shape, kind: text}}


BLOCK_START = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
BLOCK_STOP = {"type": "content_block_stop", "index": 0}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}


def message_delta(output: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}}


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [message_start(input_tokens=draw(st.integers(0, 999)), output_tokens=1)]
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["text", "partial_json", "thinking"]))
        events.append(BLOCK_START)
        for text in draw(st.lists(st.text(max_size=12), max_size=5)):
            events.append(delta(text, kind))
            if draw(st.booleans()):
                events.append(PING)
        events.append(BLOCK_STOP)
    return [*events, message_delta(draw(st.integers(0, 999))), STOP]


@st.composite
def cut_conversations(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[bytes]]:
    events = draw(conversations())
    stream = b"".join(frame(event, draw(st.sampled_from(["\n", "\r\n"]))) for event in events)
    at = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=10)))
    return events, [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]


def new_stream() -> Stream:
    return Stream(message_id="msg_ours", model="asked", meter=Meter())


def read(passed: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in sse.frames(passed)]


@given(cut_conversations())
def test_everything_passes_in_order_but_the_end_which_waits(
    cut: tuple[list[dict[str, Any]], list[bytes]],
) -> None:
    events, pieces = cut
    stream = new_stream()
    passed = b"".join(stream.feed(piece) for piece in pieces)

    expected = json.loads(json.dumps(events[:-1]))
    expected[0]["message"] |= {"id": "msg_ours", "model": "asked"}
    assert read(passed) == expected
    assert read(stream.tail) == [STOP]
    assert stream.progress is Progress.COMPLETE


@given(cut_conversations())
def test_the_reading_of_a_whole_stream_is_upstreams_own(cut: tuple[list[dict[str, Any]], list[bytes]]) -> None:
    events, pieces = cut
    stream = new_stream()
    for piece in pieces:
        stream.feed(piece)

    reading = stream.meter.close()
    assert reading.basis is Basis.UPSTREAM
    assert reading.usage == Usage(
        input=events[0]["message"]["usage"]["input_tokens"], output=events[-2]["usage"]["output_tokens"]
    )


@given(cut_conversations(), st.data())
def test_a_stream_that_is_cut_never_shows_an_end_and_fails(
    cut: tuple[list[dict[str, Any]], list[bytes]], data: st.DataObject
) -> None:
    _, pieces = cut
    whole = b"".join(pieces)
    at = data.draw(st.integers(0, len(whole) - len(frame(STOP, "\n"))))
    stream = new_stream()
    passed = stream.feed(whole[:at]) if at else b""
    stream.end()

    assert STOP not in read(passed)
    assert stream.progress is Progress.FAILED
    assert stream.fault is not None


@given(st.lists(st.text(alphabet="abcdefgh é漢", max_size=30), min_size=1, max_size=30), st.integers(1, 60))
def test_a_cut_answer_counts_about_what_was_delivered(texts: list[str], piece_bytes: int) -> None:
    whole = b"".join(frame(event) for event in (message_start(input_tokens=3), BLOCK_START, *map(delta, texts)))
    stream = new_stream()
    for at in range(0, len(whole), piece_bytes):
        stream.feed(whole[at : at + piece_bytes])

    delivered = len("".join(texts).encode())
    assert stream.meter.close().usage.output == -(-delivered // 4)


def test_a_signature_is_not_output() -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=3), BLOCK_START, delta("think", "thinking")))))
    before = stream.meter.close().usage.output
    signed = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s" * 900}}

    assert stream.feed(frame(signed)) == frame(signed)
    assert stream.meter.close().usage.output == before


def test_upstreams_error_event_is_kept_back_and_ends_it() -> None:
    stream = new_stream()
    passed = stream.feed(frame(message_start(input_tokens=3)))
    passed += stream.feed(
        frame({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}) + frame(STOP)
    )

    assert [event["type"] for event in read(passed)] == ["message_start"]
    assert stream.fault is not None and (stream.fault.kind, stream.fault.message) == ("overloaded_error", "Overloaded")
    assert stream.feed(frame(delta("more"))) == b""
    assert stream.tail == b""


def test_what_follows_the_end_is_dropped() -> None:
    stream = new_stream()
    stream.feed(b"".join(map(frame, (message_start(input_tokens=3), message_delta(4), STOP, delta("more"), STOP))))

    assert stream.tail == frame(STOP)
    assert stream.feed(frame(message_delta(900))) == b""
    assert stream.meter.close().usage.output == 4


@pytest.mark.parametrize(
    "garbage",
    [
        frame(delta("before the start")),
        b"data: not json\n\n",
        b"event: message_start\ndata: [1]\n\n",
        b'event: message_start\ndata: {"type":"message_start"}\n\n',
        b"event: x\ndata: \xff\xfe\n\n",
        frame(message_start(input_tokens=1)) * 2,
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_garbage_fails_the_stream_and_is_not_relayed(garbage: bytes) -> None:
    stream = new_stream()
    passed = stream.feed(garbage)

    assert stream.progress is Progress.FAILED
    assert len(read(passed)) <= 1


@pytest.mark.parametrize("data", [b"", b"data:\n", b'data: {"type":"other"}\n', b'data: {"type":"message_delta"}\n'])
def test_nothing_that_a_client_may_take_for_the_end_passes_before_it_is_paid_for(data: bytes) -> None:
    stream = new_stream()
    stream.feed(frame(message_start(input_tokens=1)))

    assert stream.feed(b"event: message_stop\n" + data + b"\n") == b""
    assert stream.progress is Progress.FAILED


def test_what_carries_nothing_may_stand_before_the_start_as_the_sdks_golden_streams_have_it() -> None:
    stream = new_stream()
    odd = frame({"type": "future_event", "usage": {"input_tokens": 99}}) + frame(
        {"type": "content_block_stop", "index": 0}
    )

    assert stream.feed(odd) == odd
    assert stream.progress is Progress.WAITING
    stream.feed(frame(message_start(input_tokens=3)))
    assert stream.meter.close().usage.input == 3


@pytest.mark.parametrize("event", [BLOCK_START, message_delta(4), STOP])
def test_what_belongs_to_a_message_does_not_pass_before_its_start(event: dict[str, Any]) -> None:
    stream = new_stream()

    assert stream.feed(frame(event)) == b""
    assert stream.progress is Progress.FAILED


def test_unknown_events_comments_and_pings_pass_as_they_are() -> None:
    stream = new_stream()
    stream.feed(frame(message_start(input_tokens=1)))
    odd = frame(PING) + b": keep-alive\n\n" + frame({"type": "brand_new", "x": 1})

    assert stream.feed(odd) == odd
    assert stream.progress is Progress.RUNNING


@given(st.lists(st.integers(0, 900), max_size=12), st.sampled_from([b"data: {not json\n\n", b": a comment\n\n", b"\n"]))
def test_what_stands_between_deltas_is_taken_the_same_wherever_the_network_cut(cuts: list[int], odd: bytes) -> None:
    head = [message_start(input_tokens=5, output_tokens=1), BLOCK_START, delta("one two")]
    tail = [PING, delta("three errors"), delta("four"), BLOCK_STOP]
    whole = b"".join(map(frame, head)) + odd + b"".join(map(frame, tail))

    def ridden(pieces: list[bytes]) -> tuple[object, ...]:
        stream = Stream(message_id="msg_ours", model="ours", meter=Meter(input_guess=5))
        passed = b"".join(stream.feed(piece) for piece in pieces)
        return stream.progress, stream.fault, stream.meter.close(), passed

    ends = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    assert ridden([whole[a:b] for a, b in pairwise(ends)]) == ridden([whole])
    assert ridden([whole])[0] is (Progress.FAILED if b"not json" in odd else Progress.RUNNING)


def test_a_frame_without_an_end_fails_the_stream() -> None:
    stream = Stream(message_id="msg_ours", model="claude", meter=Meter())
    for _ in range(2 + sse.FRAME_BYTES_MAX // 2**20):
        assert stream.feed(b"x" * 2**20) == b""

    assert stream.progress is Progress.FAILED
    assert stream.fault is not None and "has no end" in stream.fault.message
