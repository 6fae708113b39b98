"""Content blocks: judged by type with the field's path, and everything that costs money is counted.

Method: one block at a time through the public walk, then the walk's bounds.
"""

from typing import Any, get_args, get_type_hints

import anthropic.types as sdk
import pytest
from anthropic.types.beta import BetaContentBlockParam

from faregate.wire.blocks import MESSAGES_MAX, messages, system
from faregate.wire.shape import Malformed
from faregate.wire.tally import Tally
from tests.wire.bodies import PIXEL, image, pdf, text

MARK = {"type": "ephemeral"}


def addition(definition: Any) -> dict[str, Any]:
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}


RESULT = {"type": "tool_result", "tool_use_id": "t"}


def seen(*blocks: Any, role: str = "user", strict: bool = False, beta: bool = False) -> Tally:
    tally = Tally(strict=strict, beta=beta)
    messages([{"role": role, "content": list(blocks)}], tally)
    return tally


def fault(value: Any, **rules: bool) -> str:
    with pytest.raises(Malformed) as refused:
        messages(value, Tally(strict=rules.get("strict", False), beta=rules.get("beta", False)))
    return refused.value.path


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("hello", ""),
        ([], ""),
        ([7], "0"),
        ([{"content": "x"}], "0.role"),
        ([{"role": "wizard", "content": "x"}], "0.role"),
        ([{"role": [], "content": "x"}], "0.role"),
        ([{"role": "user"}], "0.content"),
        ([{"role": "user", "content": None}], "0.content"),
        ([{"role": "user", "output_config": {"effort": "low"}}], "0.content"),
        ([{"role": "system", "output_config": {}}], "0.content"),
        ([{"role": "system", "content": [addition(7)]}], "0.content.0.definition"),
        ([{"role": "system", "content": [addition({"name": "x"})]}], "0.content.0.definition.input_schema"),
        ([{"role": "system", "content": [addition({"type": "hologram_20261010"})]}], "0.content.0.definition.type"),
        ([{"role": "user", "content": "x"}, {"role": "user", "content": ["x"]}], "1.content.0"),
    ],
)
def test_a_conversation_that_is_none_names_the_place(value: Any, path: str) -> None:
    assert fault(value) == path


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ({}, "type"),
        ({"type": 3}, "type"),
        ({"type": "hologram"}, "type"),
        ({"type": "tool_reference", "tool_name": "x"}, "type"),
        ({"type": "text"}, "text"),
        ({"type": "text", "text": 3}, "text"),
        ({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control.ttl"),
        ({"type": "image"}, "source"),
        ({"type": "image", "source": "x"}, "source"),
        (image(type="base64", media_type="image/tiff", data="AAAA"), "source.media_type"),
        (pdf(type="base64", media_type="image/png", data="AAAA"), "source.media_type"),
        (pdf(type="content", content=[{"type": "audio"}]), "source.content.0.type"),
        (pdf(type="content", content=3), "source.content"),
        (pdf(type="content"), "source.content"),
        ({"type": "thinking", "signature": "s"}, "thinking"),
        ({"type": "thinking", "thinking": "t"}, "signature"),
        ({"type": "redacted_thinking"}, "data"),
        ({"type": "tool_use", "name": "x", "input": {}}, "id"),
        ({"type": "tool_use", "id": "t", "input": {}}, "name"),
        ({"type": "tool_use", "id": "t", "name": "x", "input": "{}"}, "input"),
        ({"type": "tool_result"}, "tool_use_id"),
        ({**RESULT, "is_error": "no"}, "is_error"),
        ({**RESULT, "content": 3}, "content"),
        ({**RESULT, "content": [image(type="file")]}, "content.0.source.file_id"),
        ({**RESULT, "content": [RESULT]}, "content.0.type"),
        ({**RESULT, "content": [{"type": "tool_reference"}]}, "content.0.tool_name"),
        ({"type": "search_result", "title": "t", "content": []}, "source"),
        ({"type": "search_result", "source": "s", "content": []}, "title"),
        ({"type": "search_result", "source": "s", "title": "t"}, "content"),
        ({"type": "search_result", "source": "s", "title": "t", "content": "words"}, "content"),
        ({"type": "search_result", "source": "s", "title": "t", "content": [image()]}, "content.0.type"),
        ({"type": "container_upload"}, "file_id"),
    ],
)
def test_a_fault_in_a_block_names_its_field(block: Any, path: str) -> None:
    assert fault([{"role": "user", "content": [text(), block]}]) == f"0.content.1.{path}"


def test_media_is_counted_wherever_it_stands() -> None:
    nested = {**RESULT, "content": [image(), pdf()]}
    quoted = pdf(type="content", content=[text(), image()])
    tally = seen(image(), pdf(), nested, quoted)

    assert (tally.images, tally.documents) == (3, 2)
    assert tally.media_bytes == 3 * len(PIXEL) + 2 * len("JVBERi0=")
    assert not tally.unbounded


def test_an_image_elsewhere_is_bounded_by_its_size_and_a_document_elsewhere_by_nothing() -> None:
    assert not seen(image(type="url", url="https://a/b.png")).unbounded
    assert seen(image(type="url", url="https://a/b.png")).images == 1
    assert seen(pdf(type="url", url="https://a/b.pdf")).unbounded
    assert seen({**RESULT, "content": [pdf(type="file", file_id="f")]}).unbounded
    assert seen({"type": "container_upload", "file_id": "f"}).unbounded


def test_a_plain_text_document_is_text_and_no_media() -> None:
    tally = seen(pdf(type="text", media_type="text/plain", data="words"))
    assert (tally.documents, tally.media_bytes, tally.unbounded) == (0, 0, False)


@pytest.mark.parametrize(
    "block",
    [
        text(cache_control=MARK),
        {**RESULT, "cache_control": MARK},
        {**RESULT, "content": [text(cache_control=MARK)]},
        {"type": "search_result", "source": "s", "title": "t", "content": [text(cache_control=MARK)]},
        pdf(type="content", content=[text(cache_control=MARK)]),
        {
            "type": "mcp_tool_result",
            "tool_use_id": "t",
            "content": [{"type": "text", "text": "x", "cache_control": MARK}],
        },
        {"type": "thinking", "thinking": "t", "signature": "s", "cache_control": MARK},
    ],
)
def test_a_cache_mark_is_found_wherever_it_hides(block: Any) -> None:
    tally = seen(block)
    assert (tally.marks, tally.cache_5m) == (1, True)


def test_what_looks_like_a_mark_in_a_tools_own_data_is_none() -> None:
    assert seen({"type": "tool_use", "id": "t", "name": "x", "input": {"cache_control": MARK}}).marks == 0


def test_media_inside_of_the_providers_blocks_makes_the_call_unbounded() -> None:
    assert seen({"type": "web_fetch_tool_result", "content": {"content": pdf()}}).unbounded
    assert not seen(
        {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "url": "u"}]}
    ).unbounded


def test_a_block_type_nobody_knows_passes_under_a_beta_and_is_then_unbounded() -> None:
    tally = seen({"type": "hologram", "frames": [{"cache_control": MARK}]}, beta=True)

    assert (tally.unbounded, tally.marks) == (True, 1)
    assert fault([{"role": "user", "content": [{"type": 3}]}], beta=True) == "0.content.0.type"
    nested = [{"role": "user", "content": [{**RESULT, "content": [RESULT]}]}]
    assert fault(nested, beta=True) == "0.content.0.content.0.type"


def test_the_2026_version_takes_documents_from_the_assistant_and_citations_from_the_user() -> None:
    cited = text(citations=[{"type": "char_location"}])
    found = {"type": "search_result", "source": "s", "title": "t", "content": [cited]}
    for role, block, path in (
        ("assistant", pdf(), "0.content.0.type"),
        ("user", cited, "0.content.0.citations"),
        ("user", found, "0.content.0.content.0.citations"),
    ):
        conversation = [{"role": role, "content": [block]}]
        assert fault(conversation, strict=True) == path
        messages(conversation, Tally(strict=False, beta=False))
    seen(cited, role="assistant", strict=True)
    seen(text(citations=[]), strict=True)


def test_system_messages_hold_text_and_are_noted_when_they_configure() -> None:
    tally = Tally(strict=False, beta=False)
    configured = {"role": "system", "content": [text()], "output_config": {"effort": "low"}}
    messages([{"role": "user", "content": "x", "output_config": {}}, configured], tally)

    assert tally.configured == [1]
    assert fault([{"role": "system", "content": [image()]}]) == "0.content.0.type"


def test_the_system_prompt_is_text() -> None:
    tally = Tally(strict=True, beta=False)
    system("be kind", tally)
    system([text(cache_control=MARK)], tally)
    assert tally.marks == 1
    for value, path in (
        (3, ""),
        (None, ""),
        ([image()], "0.type"),
        (["x"], "0"),
        ([text(), {"type": "text"}], "1.text"),
    ):
        with pytest.raises(Malformed) as refused:
            system(value, tally)
        assert refused.value.path == path


def test_a_hundred_thousand_messages_pass_and_one_more_does_not() -> None:
    conversation = [{"role": "user", "content": "x"}] * MESSAGES_MAX
    tally = Tally(strict=False, beta=False)
    messages(conversation, tally)

    assert tally.messages == MESSAGES_MAX
    assert fault([*conversation, conversation[0]]) == ""


def sdk_types(union: Any) -> set[str]:
    """The `type` of each member of one of the SDK's unions, but for its answer classes."""
    hints = [get_type_hints(member)["type"] for member in get_args(union) if isinstance(member, type)]
    return {kind for hint in hints for kind in get_args(hint)}


def test_every_block_of_the_newest_sdk_is_known_without_a_beta() -> None:
    known = sdk_types(sdk.ContentBlockParam) | sdk_types(BetaContentBlockParam) - {"tool_addition", "tool_removal"}
    assert len(known) > 15
    for kind in known:
        try:
            seen({"type": kind})
        except Malformed as error:
            assert error.path != "0.content.0.type", kind
