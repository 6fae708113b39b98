"""A play is data: its bytes are right for its framing, and a message becomes the stream the API would send."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.upstreams.script import (
    End,
    Play,
    Seen,
    error_frame,
    events,
    failure,
    frame,
    frames_of,
    plain,
    stream,
)

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [
        {"type": "thinking", "thinking": "hmm, a gate", "signature": "sig"},
        {"type": "text", "text": "Die Schranke öffnet."},
        {"type": "tool_use", "id": "toolu_1", "name": "open", "input": {"gate": 7, "why": ["fare"]}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 40,
        "service_tier": "standard",
    },
}


def test_each_framing_writes_what_it_says() -> None:
    frames = (b"ab", b"cde")
    assert Play(frames=frames).whole.endswith(b"\r\ncontent-length: 5\r\n\r\nabcde")
    assert Play(frames=frames, framing="chunked").whole.endswith(
        b"\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    )
    assert Play(frames=frames, framing="close").whole.endswith(b"\r\nconnection: close\r\n\r\nabcde")
    assert Play(headers=(("retry-after", "3"),), keep_alive=False).whole == (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\nconnection: close\r\n"
        b"retry-after: 3\r\n\r\n"
    )
    assert Play(raw=b"as it is", frames=frames).whole == b"as it is"


@pytest.mark.parametrize(
    ("play", "tail"),
    [
        (events([b"ab", b"c"], ending=End.CUT), b"2\r\nab\r\n1\r\nc\r\n"),
        (events([b"ab", b"c"], ending=End.CUT, ending_after=1), b"\r\n\r\n2\r\nab\r\n"),
        (events([b"ab", b"c"], ending=End.CUT, ending_after=0), b"chunked\r\n\r\n"),
        (events([b"ab", b"c"], ending=End.CUT, cut_at=1), b"\r\n\r\n1\r\na\r\n"),
        (Play(frames=(b"abc",), ending=End.CUT, cut_at=2), b"content-length: 3\r\n\r\nab"),
        (events([b"ab"], ending=End.HALF_CHUNK), b"400\r\n" + b"x" * 512),
        (events([b"ab"], ending=End.GARBAGE), b"not HTTP \r\n\r\n"),
    ],
)
def test_a_bad_end_is_written_where_the_script_says(play: Play, tail: bytes) -> None:
    assert play.whole.endswith(tail)
    assert not play.whole.endswith(b"0\r\n\r\n")


def test_a_refusal_writes_nothing_at_all() -> None:
    assert Play(ending=End.REFUSE, frames=(b"x",)).whole == b""
    assert Play(ending=End.GARBAGE, ending_after=0).whole == b""


def test_a_frame_is_one_event_with_its_type_in_its_data() -> None:
    assert frame("ping") == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert error_frame() == (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    )


def test_a_failure_is_anthropics_envelope() -> None:
    play = failure(529, "overloaded_error", "Overloaded", retry_after="7")
    assert play.status == 529
    assert ("retry-after", "7") in play.headers
    assert msgspec.json.decode(play.frames[0]) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_scripted",
    }
    assert not any(name == "retry-after" for name, _ in failure(500, "api_error", "x").headers)


def parsed(frames: list[bytes]) -> list[dict[str, object]]:
    out = []
    for raw in frames:
        event, data, *rest = raw.decode().split("\n")
        document = msgspec.json.decode(data.removeprefix("data: "), type=dict[str, object])
        assert (event, rest) == (f"event: {document['type']}", ["", ""])
        out.append(document)
    return out


@given(deltas=st.integers(1, 60))
def test_a_message_becomes_a_stream_that_adds_up_to_it(deltas: int) -> None:
    documents = parsed(frames_of(MESSAGE, deltas))
    kinds = [document["type"] for document in documents]
    assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")
    assert kinds.count("ping") == 1
    text, thinking, arguments, signature = "", "", "", ""
    open_block: int | None = None
    for document in documents:
        match document["type"]:
            case "content_block_start":
                assert open_block is None
                open_block = document["index"]  # type: ignore[assignment]
            case "content_block_stop":
                assert document["index"] == open_block
                open_block = None
            case "content_block_delta":
                delta: dict[str, str] = document["delta"]  # type: ignore[assignment]
                text += delta.get("text", "")
                thinking += delta.get("thinking", "")
                arguments += delta.get("partial_json", "")
                signature += delta.get("signature", "")
    assert (text, thinking, signature) == ("Die Schranke öffnet.", "hmm, a gate", "sig")
    assert msgspec.json.decode(arguments) == {"gate": 7, "why": ["fare"]}


def test_usage_is_a_placeholder_at_the_start_and_whole_at_the_end() -> None:
    start, *_, late, _stop = parsed(frames_of(MESSAGE))
    message: dict[str, dict[str, object]] = start["message"]  # type: ignore[assignment]
    assert message["usage"]["output_tokens"] == 1
    assert message["usage"]["cache_creation"] == {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0}
    assert not message["content"]
    assert message["stop_reason"] is None
    assert late["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 0,
        "output_tokens": 40,
    }
    assert late["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


def test_nonsense_in_usage_is_played_verbatim() -> None:
    wrong = {**MESSAGE, "usage": {"input_tokens": -3, "output_tokens": 10**18}}
    assert b'"input_tokens":-3' in stream(wrong).whole
    assert b'"output_tokens":1000000000000000000' in stream(wrong).whole
    assert b'"usage":{}' in plain({**MESSAGE, "usage": {}}).whole


def test_a_request_that_is_no_json_has_an_empty_document() -> None:
    for body in (b"", b"[1]", b"{", b"\xff"):
        assert Seen(index=0, method="POST", path="/", headers={}, body=body, at=0.0).document == {}
    assert Seen(index=0, method="POST", path="/", headers={}, body=b'{"a":1}', at=0.0).document == {"a": 1}
