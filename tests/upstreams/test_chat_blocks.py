"""Blocks come one after the other, whatever the order of their pieces.

Method: pieces by hand; what any order of them makes is a property of tests/upstreams/test_chat_stream.py.
"""

import pytest

from faregate.upstreams.chat_blocks import LANES_MAX, Blocks, arguments
from faregate.upstreams.port import Fault
from tests.upstreams.chat_rules import events


def steps(out: bytes) -> list[tuple[str, int]]:
    return [(event["type"].removeprefix("content_block_"), event["index"]) for event in events(out)]


def test_calls_whose_pieces_come_in_turns_are_written_one_after_the_other() -> None:
    blocks = Blocks("toolu_1")
    assert steps(blocks.call(0, "a", "one", '{"x"')) == [("start", 0), ("delta", 0)]
    assert blocks.call(1, "b", "two", "{") == b"", "the first is not whole yet"
    assert steps(blocks.call(0, "", "", ":1}")) == [
        ("delta", 0), ("stop", 0), ("start", 1), ("delta", 1)
    ]  # fmt: skip
    assert steps(blocks.call(1, "", "", "}")) == [("delta", 1)], "the second goes out as it comes, now"
    assert steps(blocks.finish(cut=False)) == [("stop", 1)]
    assert [block["input"] for block in blocks.content()] == [{"x": 1}, {}]


def test_a_text_of_nothing_but_space_is_none() -> None:
    blocks = Blocks("toolu_1")
    assert blocks.text("\n\n") == b""
    assert steps(blocks.call(0, "a", "one", "{}")) == [("start", 0), ("delta", 0)]
    assert steps(blocks.text("\n") + blocks.finish(cut=False)) == [("stop", 0)]
    assert [block["type"] for block in blocks.content()] == ["tool_use"]


def test_space_before_words_is_theirs() -> None:
    blocks = Blocks("toolu_1")
    out = blocks.text("\n ") + blocks.text("Hi") + blocks.finish(cut=False)
    assert [event["delta"]["text"] for event in events(out) if "delta" in event] == ["\n Hi"]


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["call_1", "call_2"], ["call_1", "call_2"]),
        (["functions.weather:0", "functions.weather:1"], ["functions_weather_0", "functions_weather_1"]),  # Kimi
        (["", ""], ["toolu_9_0", "toolu_9_1"]),
        (["same", "same"], ["same", "toolu_9_1"]),
        (["a.b", "a:b"], ["a_b", "toolu_9_1"]),
    ],
)
def test_ids_are_the_peers_own_as_far_as_anthropic_takes_them(ids: list[str], told: list[str]) -> None:
    blocks = Blocks("toolu_9")
    for index, call_id in enumerate(ids):
        blocks.call(index, call_id, "one", "{}")
    blocks.finish(cut=False)
    assert [block["id"] for block in blocks.content()] == told


def test_a_peer_that_numbers_no_call_or_gives_each_the_same_number_is_understood() -> None:
    for numbers in ((None, None, None), (0, 0, 0)):
        blocks = Blocks("toolu_9")
        for number, (call_id, piece) in zip(numbers, [("a", '{"x":'), ("", "1}"), ("b", "{}")], strict=True):
            blocks.call(number, call_id, "one", piece)
        blocks.finish(cut=False)
        assert [(block["id"], block["input"]) for block in blocks.content()] == [("a", {"x": 1}), ("b", {})]


def test_a_name_may_come_behind_the_arguments() -> None:
    blocks = Blocks("toolu_9")
    assert blocks.call(0, "a", "", "{}") == b""
    assert steps(blocks.call(0, "", "one", "")) == [("start", 0), ("delta", 0)]


def test_a_call_that_is_whole_is_not_gone_on_with() -> None:
    blocks = Blocks("toolu_9")
    blocks.call(0, "a", "one", "{}")
    blocks.call(1, "b", "two", "{")
    assert blocks.call(0, "", "", " ") == b""
    with pytest.raises(Fault, match="that was whole"):
        blocks.call(0, "", "", "x")


def test_what_a_limit_cut_off_has_no_input_and_is_no_fault() -> None:
    blocks = Blocks("toolu_9")
    out = blocks.call(0, "a", "one", '{"city": "Pa') + blocks.finish(cut=True)
    assert steps(out) == [("start", 0), ("delta", 0), ("stop", 0)]
    assert blocks.content()[0]["input"] == {}
    nameless = Blocks("toolu_9")
    assert nameless.call(0, "a", "", "{") + nameless.finish(cut=True) == b""


def test_the_number_of_blocks_is_bounded() -> None:
    blocks = Blocks("toolu_9")
    with pytest.raises(Fault, match=f"more than {LANES_MAX} blocks"):
        for _ in range(LANES_MAX):
            blocks.text("a")
            blocks.thought("b")


def test_arguments_are_an_object_or_nothing() -> None:
    assert (arguments(""), arguments(" "), arguments('{"a":1}')) == ({}, {}, {"a": 1})
    assert [arguments(text) for text in ("[]", "null", "{", '"a"', "1" + "[" * 9_999)] == [None] * 5
