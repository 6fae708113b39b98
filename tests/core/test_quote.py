"""The ceiling is a ceiling: no usage that the call can reach costs more than was quoted.

Method: the shipped catalog, real admission, any document, and a tokenizer that is as dear as a tokenizer can be - one
token for each byte, the template's full overhead, everything written to the cache.
"""

from importlib import resources
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.admission import admit
from faregate.core.catalog import load
from faregate.core.errors import InvalidRequest
from faregate.core.estimate import Guess
from faregate.core.money import Nanos
from faregate.core.quote import (
    Quote,
    above_limit,
    input_tokens_max,
    quote,
)
from faregate.wire.usage import Usage

CATALOG = load((resources.files("faregate.core") / "models.toml").read_text(), source="models.toml")
MODEL = CATALOG.models()[0]
PRICE = MODEL.prices[-1]
VERSION = "2023-06-01"
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200)
MARKS = st.sampled_from([None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for text in draw(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=5)):
        block: dict[str, Any] = {"type": "text", "text": text}
        if len(messages) < 4 and (mark := draw(MARKS)) is not None:
            block["cache_control"] = mark
        messages.append({"role": "user", "content": [block]})
    document = {"model": MODEL.id, "max_tokens": draw(st.integers(0, MODEL.max_output)), "messages": messages}
    if draw(st.booleans()):
        document["tools"] = [{"name": "t", "description": draw(TEXTS), "input_schema": {"type": "object"}}]
    return document


def quoted(document: dict[str, Any], guess: Usage | None = None, *, learnt: bool = True) -> Quote:
    admitted = admit(document, MODEL, VERSION)
    guessed = Guess(usage=guess or Usage(input=1, output=1), learnt=learnt)
    return quote(admitted, msgspec.json.encode(document), PRICE, guessed)


@given(documents(), st.data())
def test_no_usage_that_the_call_can_reach_costs_more_than_the_ceiling(
    document: dict[str, Any], data: st.DataObject
) -> None:
    texts = "".join(str(message["content"][0]["text"]) for message in document["messages"])
    most = len(texts.encode()) + sum(len(str(tool["description"]).encode()) for tool in document.get("tools", []))
    total = data.draw(st.integers(0, most))
    marks = [m["content"][0].get("cache_control", {}).get("ttl", "5m") for m in document["messages"]
             if "cache_control" in m["content"][0]]  # fmt: skip
    column = data.draw(st.sampled_from(["input", "cache_read", *(f"cache_write_{ttl}" for ttl in marks)]))
    usage = Usage(**{column: total, "output": document["max_tokens"]})

    assert PRICE.cost(usage) <= quoted(document).ceiling


@given(documents())
def test_the_estimate_is_never_above_the_ceiling(document: dict[str, Any]) -> None:
    result = quoted(document, Usage(cache_write_1h=100_000, output=document["max_tokens"]))

    assert result.input_estimated <= result.estimated <= result.ceiling


@given(documents(), st.integers(0, 8192))
def test_a_clamp_lowers_the_ceiling_by_exactly_the_tokens_it_takes_away(document: dict[str, Any], kept: int) -> None:
    result = quoted(document)
    kept = min(kept, result.max_tokens)
    ceiling, estimated = result.fit(kept)

    assert ceiling == result.ceiling - (result.max_tokens - kept) * PRICE.output
    assert estimated <= ceiling or result.guess.usage.output > kept


def test_content_that_is_not_in_the_body_is_bounded_by_the_window() -> None:
    url = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    plain = {"model": MODEL.id, "max_tokens": 10, "messages": [{"role": "user", "content": [url]}]}
    admitted = admit(plain, MODEL, VERSION)
    bound = input_tokens_max(admitted, msgspec.json.encode(plain))

    assert bound >= MODEL.image_tokens_max
    file = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    large = {**plain, "messages": [{"role": "user", "content": [file]}]}
    assert input_tokens_max(admit(large, MODEL, VERSION), msgspec.json.encode(large)) <= MODEL.context_window


def test_an_images_bytes_are_not_its_tokens() -> None:
    data = "iVBORw0KGgo" + "A" * 400_001
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    document = {"model": MODEL.id, "max_tokens": 10, "messages": [{"role": "user", "content": [image]}]}
    bound = input_tokens_max(admit(document, MODEL, VERSION), msgspec.json.encode(document))

    assert MODEL.image_tokens_max <= bound < MODEL.image_tokens_max + 5_000


def test_an_input_estimated_over_the_window_is_refused_in_the_standard_words() -> None:
    document = {"model": MODEL.id, "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(InvalidRequest, match=r"^prompt is too long: 200001 tokens > 200000 maximum$") as refused:
        quoted(document, Usage(input=200_001))

    assert refused.value.code == "context_length_exceeded"


def test_a_first_guess_refuses_only_what_can_hardly_fit() -> None:
    document = {"model": MODEL.id, "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    assert quoted(document, Usage(input=266_667), learnt=False).guess.input_tokens == 266_667
    with pytest.raises(InvalidRequest, match="prompt is too long: 266668 tokens"):
        quoted(document, Usage(input=266_668), learnt=False)


def test_a_ceiling_above_the_callers_own_limit_is_refused_with_what_would_fit() -> None:
    document = {"model": MODEL.id, "max_tokens": 1_000, "messages": [{"role": "user", "content": "hi"}]}
    result = quoted(document)
    refused = above_limit(result, Nanos(result.ceiling - 1), available=7_500)

    assert refused.code == "credit_limit_exceeded"
    assert refused.details["affordable_max_tokens"] == 999
    assert refused.details["available"] == "7.5"
    assert above_limit(result, Nanos(1), available=0).details["affordable_max_tokens"] == 0


@pytest.mark.parametrize("source", [
    {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"},
    {"type": "url", "url": "https://example.com/a.pdf"},
])  # fmt: skip
def test_a_document_is_bounded_by_the_window_and_refused_by_upstream_alone(source: dict[str, str]) -> None:
    content = [{"type": "document", "source": source}, {"type": "text", "text": "What does it say?"}]
    document = {"model": MODEL.id, "max_tokens": 1, "messages": [{"role": "user", "content": content}]}
    admitted = admit(document, MODEL, VERSION)
    assert input_tokens_max(admitted, msgspec.json.encode(document)) == MODEL.context_window
    # Twelve of them may be twelve pages: only upstream can tell.
    assert quoted(document, Usage(input=MODEL.context_window + 1, output=1)).ceiling > 0


@pytest.mark.parametrize(
    ("mark", "rate"),
    [
        (None, PRICE.input),
        ({"type": "ephemeral"}, PRICE.cache_write_5m),
        ({"type": "ephemeral", "ttl": "1h"}, PRICE.cache_write_1h),
    ],
)
def test_the_ceiling_is_every_byte_and_the_template_at_the_dearest_rate_and_all_of_the_output(
    mark: dict[str, str] | None, rate: Nanos
) -> None:
    block = {"type": "text", "text": "Ride."} | ({"cache_control": mark} if mark else {})
    document = {"model": MODEL.id, "max_tokens": 7, "messages": [{"role": "user", "content": [block]}]}
    overhead = admit(document, MODEL, VERSION).overhead_tokens
    result = quoted(document)

    assert overhead > 0
    assert result.input_tokens_max == len(msgspec.json.encode(document)) + overhead
    assert result.ceiling == result.input_tokens_max * rate + 7 * PRICE.output


def test_what_was_counted_before_is_within_the_ceiling() -> None:
    document = {"model": MODEL.id, "max_tokens": 1, "messages": [{"role": "user", "content": "Ride."}]}

    assert quoted(document, Usage(input=50_000)).input_ceiling == 50_000 * PRICE.input


def test_what_lies_in_no_byte_of_the_body_may_fill_the_window() -> None:
    document = {"model": MODEL.id, "max_tokens": 1, "messages": [{"role": "user", "content": "Ride."}]}
    admitted = msgspec.structs.replace(admit(document, MODEL, VERSION), unbounded=True)

    assert input_tokens_max(admitted, msgspec.json.encode(document)) == MODEL.context_window
