"""Amazon's frames become Anthropic's events, byte for byte, wherever the network split them.

Method: frames of the peer's own encoder, cut at any byte; the SSE is what Anthropic would have sent.
"""

import itertools
import json
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.upstreams.eventstream import STEP_BYTES, Events, Translation
from faregate.upstreams.port import Fault, FaultKind, Sink
from faregate.upstreams.script import frames_of
from faregate.wire import sse
from tests.upstreams.bedrock_peer import chunk, exception, frame, last

MESSAGE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": 'Fahrgäste 乗客 \\ "', "signature": "EqQB+/="},
        {"type": "tool_use", "id": "toolu_bdrk_1", "name": "gate", "input": {"a": [1, "\u2028"]}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 12, "output_tokens": 16, "cache_read_input_tokens": 3},
}
SSE = frames_of(MESSAGE)
EVENTS = [parsed.data for part in SSE for parsed in sse.frames(part)]
WIRE = b"".join(chunk(last(event) if b"message_stop" in event else event) for event in EVENTS)


def translated(*pieces: bytes) -> bytes:
    translation = Translation("aws")
    out = b"".join(map(translation.feed, pieces))
    translation.end()
    if translation.fault is not None:
        raise translation.fault
    return out


def test_a_stream_is_what_anthropic_would_have_sent_to_the_byte() -> None:
    assert translated(WIRE) == b"".join(SSE)


@given(st.lists(st.integers(0, len(WIRE))))
def test_wherever_the_network_splits_it_it_is_the_same_stream(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(WIRE)]
    assert translated(*(WIRE[a:b] for a, b in itertools.pairwise(bounds))) == b"".join(SSE)


def test_it_may_be_split_at_every_byte() -> None:
    assert translated(*(WIRE[at : at + 1] for at in range(len(WIRE)))) == b"".join(SSE)


def test_a_frame_larger_than_a_step_is_one_event() -> None:
    event = msgspec.json.encode({"type": "content_block_start", "data": "x" * 5 * STEP_BYTES})
    assert translated(chunk(event) + WIRE) == sse.render(b"content_block_start", event) + b"".join(SSE)


def test_amazons_measurements_are_left_out_and_nothing_else() -> None:
    assert b"invocationMetrics" not in translated(WIRE)
    event = b'{"type":"ping","amazon-bedrock-invocationMetrics":1}'
    assert event in translated(chunk(event))


def test_json_on_several_lines_stays_one_field() -> None:
    out = translated(chunk(b'{\n  "type": "ping"\r\n}'))
    assert [(found.event, json.loads(found.data)) for found in sse.frames(out)] == [(b"ping", {"type": "ping"})]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("throttlingException", "rate_limit_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelTimeoutException", "timeout_error"),
        ("validationException", "invalid_request_error"),
        ("modelStreamErrorException", "api_error"),
        ("internalServerException", "api_error"),
        ("someNewException", "api_error"),
    ],
)
def test_an_exception_within_a_stream_is_an_error_event(kind: str, told: str) -> None:
    (found,) = sse.frames(translated(exception(kind, "Too many\nrequests")))
    assert found.event == b"error"
    assert json.loads(found.data) == {"type": "error", "error": {"type": told, "message": "Too many\nrequests"}}


def test_the_models_own_words_go_before_amazons_and_an_unmodelled_error_is_one_too() -> None:
    out = translated(
        exception("modelStreamErrorException", "failed", originalMessage="Overloaded", originalStatusCode=529),
        frame({":message-type": "error", ":error-code": "x", ":error-message": "broke"}, b""),
    )
    assert [json.loads(found.data)["error"]["message"] for found in sse.frames(out)] == ["Overloaded", "broke"]


def test_events_that_are_not_chunks_are_passed_over() -> None:
    assert translated(frame({":message-type": "event", ":event-type": "initial-response"}, b"{}")) == b""


@pytest.mark.parametrize("at", [0, 4, 9, 20, 60, len(chunk(EVENTS[0])) - 1])
def test_one_wrong_bit_anywhere_is_a_fault(at: int) -> None:
    wire = bytearray(WIRE)
    wire[at] ^= 1
    with pytest.raises(Fault) as caught:
        translated(bytes(wire))
    assert caught.value.kind is FaultKind.PROTOCOL or "within a frame" in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        frame({":message-type": "event", ":event-type": "chunk"}, b"{}"),
        frame({":message-type": "event", ":event-type": "chunk"}, b'{"bytes":"!"}'),
        frame({":message-type": "exception"}, b"{}"),
        frame({}, b""),
        chunk(b"not json"),
        chunk(b'["type"]'),
        chunk(b'{"type":"a\\nevent: message_stop"}'),
        b'{"message":"not frames at all"}',
    ],
)
def test_what_is_no_event_is_a_fault(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        translated(bad)
    assert caught.value.kind is FaultKind.PROTOCOL


@given(st.binary(max_size=200))
def test_nonsense_ends_in_a_fault_or_waits_for_more(data: bytes) -> None:
    translation = Translation("aws")
    assert translation.feed(data) == b""
    assert translation.fault is None or translation.fault.kind is FaultKind.PROTOCOL
    translation.end()
    assert (translation.fault is None) is (data == b"")


# As an answer


class Canned:
    """An answer in these pieces."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "application/vnd.amazon.eventstream"}

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.cancelled = self.left = False

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    async def pour(self, sink: Sink) -> bool:
        while piece := await self.read():
            if not sink(piece):
                return False
        return True

    def cancel(self) -> None:
        self.cancelled = True

    def leave(self) -> None:
        self.left = True


@pytest.mark.parametrize(("wire", "whole"), [(WIRE, True), (WIRE + b"x", False), (WIRE + b"no frame at all", False)])
async def test_an_answer_is_left_only_between_frames(wire: bytes, whole: bool) -> None:  # noqa: FBT001
    source = Canned(wire)
    answer = Events(source, "aws")
    await answer.read()
    answer.leave()
    assert (source.left, source.cancelled) == (whole, not whole)


class Sunk:
    """A sink that keeps what it was given."""

    def __init__(self, *, more: bool) -> None:
        self.pieces: list[bytes] = []
        self._more = more

    def __call__(self, data: bytes) -> bool:
        self.pieces.append(data)
        return self._more


async def test_it_is_read_and_poured_alike() -> None:
    half = len(WIRE) // 2
    answer = Events(Canned(WIRE[:5], WIRE[5:half], WIRE[half:]), "aws")
    read = b""
    while piece := await answer.read():
        read += piece
    taken = Sunk(more=True)
    assert await Events(Canned(WIRE[:5], WIRE[5:half], WIRE[half:]), "aws").pour(taken)
    assert read == b"".join(taken.pieces) == b"".join(SSE)
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_sink_that_has_enough_is_given_no_more() -> None:
    source, taken = Canned(WIRE, WIRE), Sunk(more=False)
    assert not await Events(source, "aws").pour(taken)
    assert len(taken.pieces) == 1 and len(source.pieces) == 1


@pytest.mark.parametrize(("wire", "kind"), [(WIRE[:-3], FaultKind.RESET), (WIRE[:-3] + b"abc", FaultKind.PROTOCOL)])
async def test_a_stream_that_breaks_is_a_fault_and_is_hung_up_on(wire: bytes, kind: FaultKind) -> None:
    for pour in (False, True):
        source = Canned(wire)
        answer = Events(source, "aws")
        with pytest.raises(Fault) as caught:
            await (answer.pour(lambda data: True) if pour else _read(answer))
        assert caught.value.kind is kind and source.cancelled


@pytest.mark.parametrize("split", [1, 50, 100_000])
async def test_what_was_whole_before_a_fault_comes_before_it(split: int) -> None:
    good = b"".join(map(chunk, EVENTS[:3]))
    bad = chunk(EVENTS[3])
    wire = good + bad[:-1] + bytes([bad[-1] ^ 1]) + WIRE
    pieces = [wire[at : at + split] for at in range(0, len(wire), split)]
    read, answer = b"", Events(Canned(*pieces), "aws")
    with pytest.raises(Fault):
        while piece := await answer.read():
            read += piece
    with pytest.raises(Fault):
        await answer.read()
    source, taken = Canned(*pieces, WIRE), Sunk(more=True)
    with pytest.raises(Fault):
        await Events(source, "aws").pour(taken)
    assert source.pieces and source.cancelled, "nothing is read behind a fault"
    assert read == b"".join(taken.pieces) == b"".join(SSE[:3])


async def _read(answer: Events) -> None:
    while await answer.read():
        pass
