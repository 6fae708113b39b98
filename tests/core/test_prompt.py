"""A prompt's boundaries are its own whatever form it is written in, and what stands between them is counted.

Method: the same prompt in two forms, and prompts that differ.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.prompt import BILLING_HEADER, KINDS, MESSAGES_MAX, SAMPLED_BYTES, Prompt, measure, survey

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def user(*blocks: dict[str, Any] | str) -> dict[str, Any]:
    content = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    return {"role": "user", "content": content}


def walk(document: dict[str, Any], namespace: str = "w/m") -> Prompt:
    return survey(document, namespace=namespace, image_tokens_max=1_600)


def counted(document: dict[str, Any]) -> dict[str, float]:
    return dict(zip(KINDS, measure(walk(document).parts), strict=True))


def end(document: dict[str, Any], namespace: str = "w/m") -> bytes:
    return walk(document, namespace).parts[-1].digest


def test_a_mark_wanders_and_its_prefix_is_still_known() -> None:
    marked = {"messages": [user({"type": "text", "text": "a" * 99, "cache_control": MARK}, "b"), user("c")]}
    bare = {"messages": [user("a" * 99, "b"), user("c")]}

    assert {part.digest for part in walk(bare).parts} < {part.digest for part in walk(marked).parts}
    assert end({"messages": [user("a" * 99)]}) == end({"messages": [{"role": "user", "content": "a" * 99}]})


def test_a_mark_at_the_end_stands_at_the_boundary_that_a_longer_prompt_goes_on_from() -> None:
    last = {"messages": [user({"type": "text", "text": "a", "cache_control": HOUR})]}
    longer = {"messages": [user("a"), {"role": "assistant", "content": "b"}, user("c")]}

    marked = [part for part in walk(last).parts if part.ttl]
    assert [part.ttl for part in marked] == ["1h"]
    assert marked[0].digest in {part.digest for part in walk(longer).parts}


def test_a_mark_inside_a_tools_result_and_one_on_the_whole_request_are_found() -> None:
    inner = {"type": "text", "text": "told", "cache_control": MARK}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [inner]}

    assert [part.ttl for part in walk({"messages": [user(result)]}).parts] == [None, "5m"]
    assert walk({"messages": [user("a")], "cache_control": HOUR}).parts[-1].ttl == "1h"


def test_two_tenants_never_share_a_boundary() -> None:
    document = {"system": "s", "messages": [user("a")]}

    one, two = ({part.digest for part in walk(document, name).parts} for name in ("w1/m", "w2/m"))
    assert not one & two


def test_a_billing_header_that_changes_with_each_call_is_not_part_of_a_prefix() -> None:
    def document(header: str) -> dict[str, Any]:
        system = [{"type": "text", "text": f"{BILLING_HEADER}: {header}"}, {"type": "text", "text": "You are."}]
        return {"system": system, "messages": [user("hello")]}

    assert end(document("1")) == end(document("2"))


@given(st.lists(st.text(max_size=9), min_size=1, max_size=4), st.lists(st.text(max_size=9), min_size=1, max_size=4))
def test_other_messages_are_another_prefix(a: list[str], b: list[str]) -> None:
    assert (end({"messages": [user(text) for text in a]}) == end({"messages": [user(text) for text in b]})) is (a == b)


def test_another_picture_is_another_prefix() -> None:
    def document(data: str) -> dict[str, Any]:
        return {"messages": [user({"type": "image", "source": {"type": "base64", "data": data}})]}

    assert end(document("AAAA")) != end(document("AAAB"))


def test_the_head_is_tools_and_system_and_may_be_empty() -> None:
    tools = [{"name": "a", "input_schema": {}, "cache_control": MARK}]
    full = walk({"tools": tools, "system": "s", "messages": [user("a")]})
    bare = walk({"messages": [user("a")]})

    assert (full.head, bare.head) == (1, 0)
    assert bare.parts[0].text == b""
    assert full.parts[0].counts[2] == 1


def test_text_is_counted_by_kind_and_a_character_beyond_ascii_once() -> None:
    found = counted({"messages": [user("aB 9!  é中文")]})

    expected = {"lower": 5, "upper": 1, "digits": 1, "spaces": 3, "indents": 1, "marks": 1, "narrow": 1, "wide": 2}
    assert {name: found[name] for name in expected} == expected  # `user` is four letters of its own
    assert found["messages"] == 1


def test_media_are_counted_and_their_data_is_no_text() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4_000}}
    paper = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 9_000}}
    words = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "word " * 99}}
    found = counted({"messages": [user(picture, paper, words)]})

    assert (found["images"], found["pixels"], found["documents"], found["document_kb"]) == (1, 1_600, 1, 9)
    assert found["upper"] < 100
    assert found["lower"] > 4 * 99


def test_long_text_is_measured_by_samples_that_come_to_all_of_it() -> None:
    found = counted({"messages": [user("word 12. " * SAMPLED_BYTES)]})

    assert found["lower"] == pytest.approx(4 * SAMPLED_BYTES, rel=0.02)
    assert found["digits"] == pytest.approx(2 * SAMPLED_BYTES, rel=0.02)


def test_only_so_many_boundaries_are_tried_and_nothing_is_left_uncounted() -> None:
    document = {"messages": [user("a") for _ in range(MESSAGES_MAX + 50)]}

    assert len(walk(document).parts) == MESSAGES_MAX + 1
    assert counted(document)["messages"] == MESSAGES_MAX + 50
