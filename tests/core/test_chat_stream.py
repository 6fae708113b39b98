"""A stream says what the plain answer would have said, wherever it was cut, and its end waits for the end.

Method: messages are played as streams and gathered again as OpenAI's clients gather them; what comes out must be what
`core.chat` writes of the same message.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.chat import completion
from faregate.core.chat_stream import DONE, PING, ChunkStream
from faregate.core.errors import UpstreamFailed
from faregate.core.ids import ulid
from faregate.proxy.relay import PING as THEIR_PING
from faregate.upstreams.script import frames_of
from faregate.wire import sse

ID = "msg_" + ulid(1_795_745_953_000, 5)
USAGE = {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 0}
WORDS = st.text(max_size=30)
BLOCKS = st.one_of(
    WORDS.map(lambda words: {"type": "text", "text": words}),
    WORDS.map(lambda words: {"type": "thinking", "thinking": words, "signature": "s"}),
    st.dictionaries(WORDS, WORDS | st.integers(-(2**53), 2**53), max_size=3).map(
        lambda given: {"type": "tool_use", "id": "toolu_1", "name": "look", "input": given}
    ),
)


def message(*content: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": ID, "type": "message", "role": "assistant", "model": "asked", "content": list(content),
        "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE, **more,
    }  # fmt: skip


def event(name: str, **fields: Any) -> bytes:
    return sse.render(name.encode(), json.dumps({"type": name, **fields}).encode())


def chunks(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in sse.frames(body) if frame.data and frame.data != b"[DONE]"]


def gathered(body: bytes) -> dict[str, Any]:
    """The message as a client puts it together, with its finish and its usage."""
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": [], "finish": None, "usage": None}
    for chunk in chunks(body):
        said["usage"] = chunk.get("usage") or said["usage"]
        for choice in chunk["choices"]:
            delta, said["finish"] = choice["delta"], choice["finish_reason"] or said["finish"]
            for name in ("content", "reasoning_content"):
                said[name] += delta.get(name) or ""
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(said["calls"]):
                    said["calls"].append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
                said["calls"][call["index"]]["arguments"] += call["function"].get("arguments", "")
    for call in said["calls"]:
        call["arguments"] = json.loads(call["arguments"])
    return said


def plainly(answer: dict[str, Any]) -> dict[str, Any]:
    found = json.loads(completion(json.dumps(answer).encode()))
    (choice,) = found["choices"]
    calls = [
        {"id": c["id"], "name": c["function"]["name"], "arguments": json.loads(c["function"]["arguments"])}
        for c in choice["message"].get("tool_calls", ())
    ]
    return {
        "content": choice["message"]["content"] or "",
        "reasoning_content": choice["message"].get("reasoning_content", ""),
        "calls": calls,
        "finish": choice["finish_reason"],
        "usage": found["usage"],
    }


def fed(*pieces: bytes, include_usage: bool = True) -> bytes:
    stream = ChunkStream(include_usage=include_usage)
    return b"".join(map(stream.feed, pieces))


@given(st.lists(BLOCKS, max_size=4), st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal"]), st.data())
def test_a_stream_says_what_the_plain_answer_says(content: list[Any], reason: str, data: st.DataObject) -> None:
    answer = message(*content, stop_reason=reason)
    frames = frames_of(answer)
    cut = data.draw(st.integers(0, len(frames)))
    body = fed(b"".join(frames[:cut]), b"".join(frames[cut:]))

    assert gathered(body) == plainly(answer)
    assert body == fed(*frames)


def test_the_first_chunk_has_the_role_and_every_one_the_same_head() -> None:
    first, *rest = chunks(fed(*frames_of(message({"type": "text", "text": "Hello"}))))

    assert first == {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": 1_795_745_953,
        "model": "asked",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
        "usage": None,
    }
    for chunk in rest:
        assert {**chunk, "choices": None, "usage": None} == {**first, "choices": None}


def test_the_end_and_all_that_looks_like_it_come_with_the_last_frame() -> None:
    frames = frames_of(message({"type": "text", "text": "Hello"}))
    stream = ChunkStream(include_usage=True)
    before = stream.feed(b"".join(frames[:-1]))
    after = stream.feed(frames[-1])

    assert all(c["finish_reason"] is None for chunk in chunks(before) for c in chunk["choices"])
    assert all(chunk["usage"] is None for chunk in chunks(before))
    last, usage = chunks(after)
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"], last["usage"]) == ({}, "stop", None)
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] == 15
    assert after.endswith(DONE) and DONE not in before


@pytest.mark.parametrize("last", [
    b'data: {"type":"message_stop","index":"x"}\n\n', b'event: ping\ndata: {"type":"message_stop"}\n\n',
    b'event: news\ndata: {"type":"message_stop"}\n\n', b'event: message_stop\ndata: {"message":7}\n\n',
])  # fmt: skip
def test_what_is_billed_has_an_end_whatever_upstream_writes_of_it(last: bytes) -> None:
    frames = frames_of(message({"type": "text", "text": "Hello"}))
    whole = b"".join(frames)
    as_it_comes, again = ChunkStream(include_usage=True), ChunkStream(include_usage=True)
    body = as_it_comes.feed(b"".join(frames[:-1])) + as_it_comes.end(last)

    assert chunks(body) == chunks(ChunkStream(include_usage=True).feed(whole))
    assert body.endswith(DONE) and body.count(DONE) == 1
    assert again.end(whole) == ChunkStream(include_usage=True).feed(whole)


def test_usage_is_given_where_it_was_asked_for_alone() -> None:
    body = fed(*frames_of(message()), include_usage=False)

    assert b"usage" not in body
    assert all(chunk["choices"] for chunk in chunks(body)) and body.endswith(DONE)


def test_a_call_without_arguments_is_given_an_empty_object() -> None:
    start = event("message_start", message={"id": ID, "model": "m", "usage": USAGE})
    block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    empty = {"type": "input_json_delta", "partial_json": ""}
    at = [
        event("content_block_start", index=0, content_block=block),
        event("content_block_delta", index=0, delta=empty),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block={**block, "input": {"at": 1}}),
        event("content_block_stop", index=1),
    ]

    assert [call["arguments"] for call in gathered(fed(start, *at))["calls"]] == [{}, {"at": 1}]


def test_what_a_block_begins_with_is_said_too() -> None:
    start = event("message_start", message={"id": ID, "model": "m"})
    blocks = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hello"}]
    said = gathered(fed(start, *(event("content_block_start", index=i, content_block=b) for i, b in enumerate(blocks))))

    assert (said["reasoning_content"], said["content"]) == ("Hm.", "Hello")


def test_a_ping_is_a_comment_and_what_is_not_known_is_nothing() -> None:
    start = event("message_start", message={"id": ID, "model": "m"})
    strange = [b": comment\n\n", event("news", index="x"), sse.render(b"news", b"not json"), b"data:\n\n"]
    odd = [
        event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "s"}),
        event("content_block_delta", index=4, delta={"type": "input_json_delta", "partial_json": "{}"}),
        event("content_block_start", index=0, content_block={"type": "server_tool_use", "id": "a", "name": "b"}),
        event("content_block_stop", index=0),
    ]

    assert fed(start, THEIR_PING, *strange, *odd) == fed(start) + PING


@pytest.mark.parametrize("data", [b"{", b"[]", b'"\xff"', b'{"type":"content_block_delta","delta":3}'])
def test_an_event_that_cannot_be_read_is_a_fault_and_nothing_is_left_out(data: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        fed(event("message_start", message={"id": ID, "model": "m"}), sse.render(b"content_block_delta", data))
