"""What peers really send, where it is not what the specification says: nothing that was called is lost."""

import json
from typing import Any

import pytest

from faregate.upstreams import chat_blocks
from faregate.upstreams.chat_errors import of_answer
from faregate.upstreams.chat_stream import Asked, Translation
from faregate.upstreams.port import Fault, FaultKind

Calls = list[dict[str, Any]]


def translation() -> Translation:
    return Translation(
        Asked(model="m", message_id="msg_1", max_tokens=100, stops=[], shows_thinking=False, input_guess=7)
    )


def called(name: str, arguments: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def plain(message: Any, finish: str = "tool_calls") -> dict[str, Any]:
    body = {"choices": [{"message": message, "finish_reason": finish}]}
    found = translation().whole(json.dumps(body).encode())
    assert isinstance(found, dict)
    return found


def streamed(*deltas: Any, finish: str = "tool_calls") -> list[dict[str, Any]]:
    """The events of a stream of these deltas."""
    choices = [*({"delta": delta} for delta in deltas), {"delta": {}, "finish_reason": finish}]
    body = b"".join(b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode() for choice in choices)
    out = translation().feed(body + b"data: [DONE]\n\n").decode()
    return [json.loads(line.removeprefix("data: ")) for line in out.splitlines() if line.startswith("data: ")]


def inputs(events: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """The names of the tools that a stream calls, each with its input."""
    blocks: dict[int, list[str]] = {}
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            blocks[event["index"]] = [event["content_block"]["name"], ""]
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            blocks[event["index"]][1] += event["delta"]["partial_json"]
    return [(name, json.loads(text or "{}")) for name, text in blocks.values()]


NAMELESS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"id": ""}, {"id": ""}),
    ({"id": None, "index": None}, {"id": None, "index": None}),
    ({"id": "", "index": 0}, {"id": "", "index": 0}),
]


@pytest.mark.parametrize(("first", "second"), [*NAMELESS, ({"id": "call"}, {"id": "call"})])
def test_calls_of_a_plain_answer_are_as_many_as_are_listed_whatever_their_ids(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    calls = [called("a", '{"x":1}', **first), called("a", '{"y":{"z":2}}', **second)]
    blocks = plain({"content": None, "tool_calls": calls})["content"]
    assert [block["input"] for block in blocks] == [{"x": 1}, {"y": {"z": 2}}]
    assert len({block["id"] for block in blocks}) == 2


@pytest.mark.parametrize(("first", "second"), NAMELESS)
@pytest.mark.parametrize("together", [True, False])
def test_a_call_that_begins_again_with_a_name_under_the_same_number_is_another(
    first: dict[str, Any],
    second: dict[str, Any],
    together: bool,  # noqa: FBT001
) -> None:
    calls: Calls = [called("a", '{"x":1}', **first), called("b", '{"y":{"z":2}}', **second)]
    deltas = [{"tool_calls": calls}] if together else [{"tool_calls": [call]} for call in calls]
    assert inputs(streamed(*deltas)) == [("a", {"x": 1}), ("b", {"y": {"z": 2}})]


def test_a_peer_that_repeats_the_name_with_each_piece_calls_once() -> None:
    pieces = ['{"x":', '{"y":', "{}", "}", "}"]
    events = streamed(*({"tool_calls": [called("a", piece, index=0)]} for piece in pieces))
    assert inputs(events) == [("a", {"x": {"y": {}}})]


def test_another_tool_under_the_same_number_is_another_call_though_its_input_comes_later() -> None:
    pieces = [called("a", '{"x":1}', index=0), called("b", "", index=0), {"index": 0, "function": {"arguments": "{}"}}]
    assert inputs(streamed(*({"tool_calls": [piece]} for piece in pieces))) == [("a", {"x": 1}), ("b", {})]
    # The name of the same tool, with nothing more, is only told again.
    assert inputs(streamed(*({"tool_calls": [called("a", piece, index=0)]} for piece in ("{}", "")))) == [("a", {})]


@pytest.mark.parametrize("nothing", ["null", "", None, "{}", {}])
def test_a_call_without_input_has_an_empty_one(nothing: Any) -> None:
    assert plain({"tool_calls": [called("a", nothing, id="c")]})["content"][0]["input"] == {}
    assert inputs(streamed({"tool_calls": [called("a", nothing, id="c", index=0)]})) == [("a", {})]


def test_a_null_within_an_input_stays() -> None:
    pieces = ['{"x":', "null", "}"]
    events = streamed({"tool_calls": [called("a", "", index=0)]}, *(
        {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces
    ))  # fmt: skip
    assert inputs(events) == [("a", {"x": None})]


@pytest.mark.parametrize("finish", ["tool_calls", "function_call"])
def test_who_says_that_a_tool_is_called_and_calls_none_has_ended(finish: str) -> None:
    # A client that is told `tool_use` waits for a call that never came.
    assert plain({"content": "Hi"}, finish)["stop_reason"] == "end_turn"
    assert streamed({"content": "Hi"}, finish=finish)[-2]["delta"]["stop_reason"] == "end_turn"


def test_a_function_call_of_old_is_a_call() -> None:
    found = plain({"content": None, "function_call": {"name": "a", "arguments": '{"x":1}'}}, "function_call")
    assert found["stop_reason"] == "tool_use"
    assert [(block["name"], block["input"]) for block in found["content"]] == [("a", {"x": 1})]
    pieces: Calls = [{"name": "a", "arguments": ""}, {"arguments": '{"x"'}, {"arguments": ":1}"}]
    assert inputs(streamed(*({"function_call": piece} for piece in pieces))) == [("a", {"x": 1})]


def test_what_is_kept_of_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_blocks, "HELD_BYTES_MAX", 100 * chat_blocks.PIECE_BYTES)
    for delta in (
        {"content": "x"}, {"content": " "}, {"tool_calls": [called("a", "{", index=0)]},
        {"tool_calls": [called("", "", index=0, id="i" * 64)]},
    ):  # fmt: skip
        with pytest.raises(Fault) as caught:
            streamed(*[delta] * 101)
        assert caught.value.kind is FaultKind.PROTOCOL


def test_each_piece_is_looked_at_once_though_nothing_goes_out_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = 0

    def counted(text: str) -> None:
        nonlocal judged
        judged += 1

    monkeypatch.setattr(chat_blocks, "arguments", counted)
    blocks = chat_blocks.Blocks("toolu")
    blocks.call(0, "c", "a", '{"x":}')
    for _ in range(100):
        blocks.text("word ")
    assert judged == 1


@pytest.mark.parametrize("body", [
    {"detail": [{"loc": 5, "msg": "no"}]},
    {"error": {"message": f"maximum context length is {'9' * 5000} tokens, 5 in the messages"}},
])  # fmt: skip
def test_an_error_that_nobody_writes_is_still_an_error(body: Any) -> None:
    assert of_answer(400, json.dumps(body).encode()).status == 400
