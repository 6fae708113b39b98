"""Whatever a peer sends, what comes out is a legal Anthropic stream, and the plain answer says the same.

Method: streams as the real servers write them, and any that Hypothesis can think of, cut anywhere.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.upstreams.chat_errors import Trouble
from faregate.upstreams.chat_stream import State, Translation
from faregate.upstreams.port import Fault, FaultKind
from tests.upstreams import chat_peer as peer
from tests.upstreams.chat_peer import call, delta, stream, usage
from tests.upstreams.chat_rules import asked, events, gathered, translated

HELLO = [delta(content="The gate"), delta(content=" opens."), delta(finish="stop")]


def test_a_text_is_a_block_with_its_real_usage_in_the_end() -> None:
    message = translated(stream(*HELLO, told=usage(40, 7, cached=30)))

    assert message["content"] == [{"type": "text", "text": "The gate opens."}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    assert (message["id"], message["model"], message["role"]) == ("msg_1", "claude-haiku-4-5", "assistant")
    told = message["usage"]
    assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == (10, 30, 7)
    assert "estimated" not in told


def test_message_start_says_our_estimate_of_the_input_and_the_peers_own_count_where_it_comes_so_early() -> None:
    late, early = (Translation(asked()) for _ in range(2))
    said = events(late.feed(delta(role="assistant", content="")))[0]["message"]["usage"]
    assert (said["input_tokens"], said["cache_read_input_tokens"], said["output_tokens"]) == (30, 0, 1)

    # vLLM and SGLang, told to, count in each chunk.
    first = peer.data(choices=[{"index": 0, "delta": {"role": "assistant"}}], usage=usage(40, 0, cached=16))
    said = events(early.feed(first))[0]["message"]["usage"]
    assert (said["input_tokens"], said["cache_read_input_tokens"]) == (24, 16)


def test_an_answer_whose_usage_never_came_is_counted_by_us_and_says_so() -> None:
    for message in (
        translated(stream(*HELLO)),
        Translation(asked()).whole(peer.whole(content="The gate opens.")),
        translated(stream(*HELLO, told={"prompt_tokens": None, "completion_tokens": 3})),
    ):
        assert isinstance(message, dict)
        told = message["usage"]
        assert (told["input_tokens"], told["output_tokens"], told["estimated"]) == (30, 4, True)


def test_reasoning_that_is_not_shown_is_counted_all_the_same() -> None:
    message = translated(stream(delta(reasoning="x" * 40), *HELLO), shows_thinking=False)
    assert message["usage"]["output_tokens"] == 14


def test_a_usage_that_came_with_the_reason_is_not_forgotten() -> None:
    last = peer.data(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=usage(40, 7))
    message = translated(b"".join([HELLO[0], last, peer.data(choices=[], usage=None), peer.DONE]))
    assert message["usage"]["output_tokens"] == 7


@pytest.mark.parametrize(
    ("finish", "choice", "told", "reason", "sequence"),
    [
        ("stop", {}, 7, "end_turn", None),
        ("stop", {"stop_reason": "END"}, 7, "stop_sequence", "END"),  # vLLM
        ("stop", {"stop_reason": 128009}, 7, "end_turn", None),  # vLLM: the token that ends a turn
        ("stop", {"matched_stop": "END"}, 7, "stop_sequence", "END"),  # SGLang
        ("stop", {"matched_stop": 2}, 7, "end_turn", None),
        ("stop", {"matched_stop": "</s>"}, 7, "end_turn", None),  # not one that the caller asked for
        ("length", {}, 100, "max_tokens", None),
        ("length", {}, 99, "model_context_window_exceeded", None),
        ("content_filter", {}, 7, "refusal", None),
        ("eos_token", {}, 7, "end_turn", None),
    ],
)
def test_why_it_ended_is_told_as_anthropic_tells_it(
    finish: str, choice: dict[str, Any], told: int, reason: str, sequence: str | None
) -> None:
    streamed = translated(
        stream(delta(content="a"), delta(finish=finish, choice=choice), told=usage(9, told)), stops=["END"]
    )
    plain = Translation(asked(stops=["END"])).whole(
        peer.whole(content="a", finish=finish, choice=choice, told=usage(9, told))
    )
    assert isinstance(plain, dict)
    for message in (streamed, plain):
        assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


@pytest.mark.parametrize("finish", ["tool_calls", "stop"])  # vLLM says "stop" of a tool that it was made to call
def test_a_tool_call_keeps_its_id_and_gets_its_arguments_in_pieces(finish: str) -> None:
    pieces = ['{"ci', 'ty": "Par', 'is"}']
    first = delta(content=None, tool_calls=[call(0, "", call_id="call_1", name="weather")])
    body = stream(first, *(delta(tool_calls=[call(0, piece)]) for piece in pieces), delta(finish=finish), told=usage())
    message = translated(body)

    assert message["content"] == [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}}]
    assert message["stop_reason"] == "tool_use"
    out = Translation(asked()).feed(body)
    told = [event["delta"]["partial_json"] for event in events(out) if event["type"] == "content_block_delta"]
    assert told == pieces, "each goes out as it comes"


def test_a_refusal_is_told_as_one() -> None:
    message = translated(stream(delta(refusal="I will "), delta(refusal="not."), delta(finish="stop"), told=usage()))

    assert message["content"] == [{"type": "text", "text": "I will not."}]
    assert message["stop_reason"] == "refusal"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_shown_to_who_asked_for_thinking_and_has_no_signature(name: str) -> None:
    said: list[dict[str, Any]] = [{name: "Hm, a "}, {name: "gate."}]
    body = stream(*(delta(**part) for part in said), *HELLO, told=usage())
    message = translated(body)
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm, a gate.", "signature": ""},
        {"type": "text", "text": "The gate opens."},
    ]
    assert [block["type"] for block in translated(body, shows_thinking=False)["content"]] == ["text"]


def test_a_pre_warm_generates_nothing_whatever_the_peer_sends() -> None:
    body = stream(delta(content="The"), delta(finish="length"), told=usage(40, 1))
    message = translated(body, max_tokens=0)
    assert (message["content"], message["stop_reason"], message["usage"]["output_tokens"]) == ([], "max_tokens", 0)


def test_an_error_within_a_stream_is_one_error_event_and_nothing_follows() -> None:
    error = peer.data(error={"message": "CUDA is out of memory", "type": "InternalServerError", "code": 500})
    translation = Translation(asked())
    out = translation.feed(stream(HELLO[0], error, *HELLO))

    last = events(out)[-1]
    assert last == {"type": "error", "error": {"type": "api_error", "message": "CUDA is out of memory"}}
    assert translation.state is State.COMPLETE
    assert translation.feed(HELLO[0]) == translation.end() == b""


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"".join(HELLO[:2]), FaultKind.RESET),
        (b"".join([*HELLO[:2], peer.DONE]), FaultKind.RESET),
        (stream(delta(content="a", finish="abort")), FaultKind.RESET),
        (b"data: {nonsense}\n\n", FaultKind.PROTOCOL),
        (b'data: {"choices": 3}\n\n', FaultKind.PROTOCOL),
        (b"data: [1]\n\n", FaultKind.PROTOCOL),
        (stream(delta(tool_calls=[call(0, "[1]", call_id="a", name="b")]), delta(finish="tool_calls")),
         FaultKind.PROTOCOL),
        (stream(delta(tool_calls=[call(0, '{"a"', call_id="a", name="b")]), delta(finish="tool_calls")),
         FaultKind.PROTOCOL),
        (stream(delta(tool_calls=[call(0, "{}", call_id="a")]), delta(finish="tool_calls")), FaultKind.PROTOCOL),
    ],
)  # fmt: skip
def test_what_breaks_off_or_is_nonsense_is_a_fault_and_never_a_good_end(body: bytes, kind: FaultKind) -> None:
    with pytest.raises(Fault) as caught:
        translated(body)
    assert caught.value.kind is kind


def test_a_stream_that_ends_without_its_done_is_whole_when_it_has_its_reason() -> None:
    assert translated(stream(*HELLO, told=usage(), done=b""))["content"][0]["text"] == "The gate opens."


def test_chunks_of_other_choices_and_of_none_say_nothing() -> None:
    azure = peer.data(choices=[], prompt_filter_results=[{"prompt_index": 0}])
    other = peer.data(choices=[{"index": 1, "delta": {"content": "not this"}, "finish_reason": "stop"}])
    message = translated(azure + stream(HELLO[0], other, *HELLO[1:], told=usage()))

    assert message["content"] == [{"type": "text", "text": "The gate opens."}]


@pytest.mark.parametrize(
    ("fingerprint", "said", "left"),
    [
        ("b6000-abc", ["The ", "gate opens"], " opens"),
        ("b6000-abc", ["The gate opens"], " opens"),
        ("b6000-abc", ["The ", "door"], "The door"),
        ("fp_1", ["The gate"], "The gate"),
        (None, ["The gate"], "The gate"),
    ],
)
def test_a_prefill_is_not_repeated_though_llama_cpp_does_so(
    fingerprint: str | None, said: list[str], left: str
) -> None:
    chunks = [
        peer.data(choices=[{"index": 0, "delta": {"content": text}}], system_fingerprint=fingerprint) for text in said
    ]
    message = translated(b"".join([*chunks, delta(finish="stop"), peer.DONE]), prefill="The gate")
    assert message["content"] == [{"type": "text", "text": left}]


def test_an_error_under_200_in_a_plain_answer_is_that_error() -> None:
    body = msgspec.json.encode({"error": {"message": "busy", "code": 503}})
    assert Translation(asked()).whole(body) == Trouble(503, "busy")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": []}', peer.whole(content="a", finish="")])
def test_a_plain_answer_that_is_none_is_a_fault(body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        Translation(asked()).whole(body)
    assert caught.value.kind is FaultKind.PROTOCOL


INPUTS = st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.text(), st.integers()), max_size=3)
WORDS = st.text(min_size=1, max_size=20).filter(lambda text: not text.isspace())


@given(
    reasoning=st.one_of(st.none(), WORDS),
    text=st.one_of(st.none(), st.text(max_size=20)),
    inputs=st.lists(INPUTS, max_size=4),
    told=st.builds(usage, st.integers(0, 999), st.integers(0, 50), st.one_of(st.none(), st.integers(0, 999))),
    piece=st.integers(1, 400),
    cuts=st.randoms(use_true_random=False),
)
def test_a_stream_in_any_pieces_says_what_the_plain_answer_says(
    *, reasoning: str | None, text: str | None, inputs: list[Any], told: dict[str, Any], piece: int, cuts: Any
) -> None:
    calls = [(f"call_{n}", f"tool_{n}", json.dumps(value)) for n, value in enumerate(inputs)]
    finish = "tool_calls" if calls else "stop"
    plain = Translation(asked()).whole(
        peer.whole(
            finish=finish,
            told=told,
            content=text,
            reasoning_content=reasoning,
            tool_calls=[call(None, args, call_id=i, name=name) for i, name, args in calls],
        )
    )
    deltas = [delta(reasoning_content=part) for part in _parts(reasoning or "", cuts)]
    deltas += [delta(content=part) for part in _parts(text or "", cuts)]
    queues = []
    for index, (call_id, name, args) in enumerate(calls):
        deltas.append(delta(tool_calls=[call(index, "", call_id=call_id, name=name)]))
        queues.append([delta(tool_calls=[call(index, part)]) for part in _parts(args, cuts)])
    while any(queues):  # The calls' pieces in any order among themselves, which is legal.
        deltas.append(cuts.choice([queue for queue in queues if queue]).pop(0))
    streamed = translated(stream(*deltas, delta(finish=finish), told=told), piece)

    assert streamed == plain
    assert [block["input"] for block in streamed["content"] if block["type"] == "tool_use"] == inputs


def _parts(text: str, cuts: Any) -> list[str]:
    parts = []
    while text:
        cut = cuts.randint(1, len(text))
        parts.append(text[:cut])
        text = text[cut:]
    return parts


CHUNKS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 2**40), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "tool_calls", "function", "arguments", "name", "id", "index",
                 "finish_reason", "usage", "prompt_tokens", "completion_tokens", "error", "code", "refusal",
                 "reasoning", "stop_reason", "prompt_tokens_details", "cached_tokens"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(CHUNKS, max_size=5))
def test_no_chunk_at_all_breaks_the_law(chunks: list[Any]) -> None:
    body = b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks) + delta(finish="length")
    translation = Translation(asked())
    try:
        out = translation.feed(body) + translation.end()
    except Fault:
        return
    if b"event: error" in out:
        assert out.count(b"event: error\n") == 1 and events(out)[-1]["type"] == "error"
    else:
        gathered(out)
