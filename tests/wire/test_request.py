"""The request as bytes and as an object: whatever comes in, it is an object or Malformed, and never anything else."""

import json
from typing import Any

import anthropic.types as sdk
import anthropic.types.beta.message_create_params as sdk_beta
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.wire.request import (
    DEPTH_MAX,
    FIELDS,
    MODEL_CHARS_MAX,
    VALUES_MAX,
    Malformed,
    decode,
    model_name,
    read,
)
from tests.wire.bodies import changed, plain, rich, text, without

OLD, NEW = "2023-06-01", "2026-10-21"


def fault(document: Any, version: str = OLD, *, counting: bool = False) -> str:
    with pytest.raises(Malformed) as refused:
        read(document, version=version, beta=False, counting=counting)
    return str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"a":1,}', b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":"\xff"}', b'{"\xff":1}', b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}', b'{"a":"\n"}', b"\xef\xbb\xbf{}",
        b"{} {}", b"[]", b"null", b"3", b'"x"', b"[" * 100_000, b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_told_so(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        decode(body)
    assert refused.value.invalid_json
    assert refused.value.path == ""


@given(st.binary())
def test_any_bytes_are_an_object_or_malformed(body: bytes) -> None:
    try:
        document = decode(body)
    except Malformed:
        return
    assert msgspec.json.encode(document)


def nested(depth: int, *, padding: int = 0) -> bytes:
    return b'{"pad":"%b","a":%b1%b}' % (b"[" * padding, b"[" * (depth - 1), b"]" * (depth - 1))


def test_depth_is_bounded_exactly_and_brackets_in_strings_do_not_count() -> None:
    decode(nested(DEPTH_MAX, padding=10_000))
    with pytest.raises(Malformed, match="nested deeper than 256 levels"):
        decode(nested(DEPTH_MAX + 1))
    objects = b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1)
    with pytest.raises(Malformed, match="nested deeper than 256 levels"):
        decode(objects)
    decode(objects[5:-1])


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b'""'])
def test_a_flood_of_small_values_is_refused_before_it_is_parsed(value: bytes) -> None:
    decode(b'{"a":[%b1]}' % ((value + b",") * 600_000))
    with pytest.raises(Malformed, match="more than 2000000 values"):
        decode(b'{"a":[%b1]}' % ((value + b",") * VALUES_MAX))


def test_of_a_key_given_twice_the_last_counts_and_only_it_is_written_out() -> None:
    document = decode(b'{"max_tokens":1,"max_tokens":9}')

    assert document == {"max_tokens": 9}
    assert msgspec.json.encode(document) == b'{"max_tokens":9}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_what_is_decoded_is_written_out_as_the_same_value(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode("utf-8")

    assert decode(msgspec.json.encode(decode(body))) == decode(body)


def test_a_rich_request_passes_and_is_tallied() -> None:
    tally = read(rich(), version=OLD, beta=False)

    assert (tally.messages, tally.tools, tally.marks, tally.images, tally.documents) == (4, 2, 3, 3, 1)
    assert (tally.cache_5m, tally.cache_1h, tally.unbounded) == (True, True, False)


@pytest.mark.parametrize("name", ["model", "messages", "max_tokens"])
def test_what_is_required_is_asked_for_by_name(name: str) -> None:
    assert fault(without(plain(), name)) == f"{name}: Field required"


def test_counting_tokens_needs_no_max_tokens_but_the_rest() -> None:
    read(without(plain(), "max_tokens"), version=OLD, beta=False, counting=True)
    assert fault(without(plain(), "messages"), counting=True) == "messages: Field required"


@pytest.mark.parametrize("name", ["frobnicate", "Model", "betas", "user_profile_id", "prompt"])
def test_a_field_that_nobody_knows_is_refused_in_the_words_clients_wait_for(name: str) -> None:
    assert fault(plain(**{name: 1})) == f"{name}: Extra inputs are not permitted"


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_the_2026_version_has_no_sampling_parameters(name: str) -> None:
    read(plain(**{name: 1}), version=OLD, beta=False)
    for version in (NEW, "2027-01-01"):
        assert fault(plain(**{name: 1}), version) == f"{name}: Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", 3, "model: Input should be a valid string"),
        ("model", "", "model: String should have 1 to 256 characters"),
        ("model", "m" * (MODEL_CHARS_MAX + 1), "model: String should have 1 to 256 characters"),
        ("max_tokens", True, "max_tokens: Input should be a valid integer"),
        ("max_tokens", 1.0, "max_tokens: Input should be a valid integer"),
        ("max_tokens", "9", "max_tokens: Input should be a valid integer"),
        ("max_tokens", None, "max_tokens: Input should be a valid integer"),
        ("max_tokens", -1, "max_tokens: Input should be greater than or equal to 0"),
        ("messages", [], "messages: at least one message is required"),
        ("stream", 1, "stream: Input should be a valid boolean"),
        ("temperature", True, "temperature: Input should be a valid number"),
        ("temperature", None, "temperature: Input should be a valid number"),
        ("top_p", "1", "top_p: Input should be a valid number"),
        ("top_k", 1.5, "top_k: Input should be a valid integer"),
        ("system", 3, "system: Input should be a string or an array of text blocks"),
        ("stop_sequences", "END", "stop_sequences: Input should be a valid array"),
        ("stop_sequences", ["a", 3], "stop_sequences.1: Input should be a valid string"),
        ("metadata", [], "metadata: Input should be an object"),
        ("metadata", {"user_id": 3}, "metadata.user_id: Input should be a valid string"),
        ("tools", {}, "tools: Input should be a valid array"),
        ("tool_choice", "auto", "tool_choice: Input should be an object"),
        ("cache_control", {"type": "ephemeral", "ttl": "2h"}, "cache_control.ttl: Input should be '5m' or '1h'"),
        (
            "thinking",
            {"type": "hard"},
            "thinking.type: Input should be 'enabled', 'adaptive', 'disabled' or 'between_tools'",
        ),
        ("thinking", True, "thinking: Input should be an object"),
        ("thinking", {"type": "enabled"}, "thinking.budget_tokens: Field required"),
        ("output_config", [], "output_config: Input should be an object"),
        ("output_config", {"format": {"type": "xml"}}, "output_config.format.type: Input should be 'json_schema'"),
        ("output_config", {"format": {"type": "json_schema"}}, "output_config.format.schema: Field required"),
        ("service_tier", "priority", "service_tier: Input should be 'auto' or 'standard_only'"),
        ("speed", "warp", "speed: Input should be 'standard' or 'fast'"),
        ("inference_geo", 3, "inference_geo: Input should be a valid string"),
        ("container", 3, "container: Input should be an object"),
        ("fallbacks", 3, "fallbacks: Input should be a valid array"),
        ("mcp_servers", {}, "mcp_servers: Input should be a valid array"),
        ("diagnostics", "yes", "diagnostics: Input should be an object"),
    ],
)
def test_a_field_of_the_wrong_shape_says_what_it_should_be(field: str, value: Any, message: str) -> None:
    assert fault(plain(**{field: value})) == message


@pytest.mark.parametrize("budget", [1_023, 0, -1, True, 1_024.0, "1024", None])
def test_a_thinking_budget_is_a_whole_number_from_1024(budget: Any) -> None:
    message = fault(plain(thinking={"type": "enabled", "budget_tokens": budget}))
    assert message == "thinking.budget_tokens: Input should be an integer greater than or equal to 1024"


def test_efforts_are_known_and_null_is_none() -> None:
    read(plain(output_config={"effort": None, "format": None, "novelty": 1}), version=OLD, beta=False)
    assert fault(plain(output_config={"effort": "extreme"})).startswith("output_config.effort: Input should be 'low'")


def test_a_choice_of_a_tool_that_is_not_given_is_found_whatever_the_order_of_the_keys() -> None:
    document = {"tool_choice": {"type": "tool", "name": "leap"}, **rich()}
    assert fault(changed(document, "tool_choice.name", "fly")).startswith("tool_choice.name: Tool 'fly' not found")


def test_the_mark_at_the_top_counts_among_the_four() -> None:
    marked = text(cache_control={"type": "ephemeral"})
    four = plain(system=[marked] * 4)
    read(four, version=OLD, beta=False)
    assert fault({**four, "cache_control": {"type": "ephemeral"}}).startswith("cache_control: A maximum of 4 blocks")


def test_the_model_is_read_before_all_else() -> None:
    assert model_name(plain()) == "claude-haiku-4-5"
    for document in ({}, {"model": 3}, {"model": ""}, {"model": "m" * 300}):
        with pytest.raises(Malformed, match=r"^model: "):
            model_name(document)


@given(st.sampled_from(sorted(FIELDS)), json_values)
def test_no_value_of_any_field_gets_past_as_another_exception(name: str, value: Any) -> None:
    try:
        read(plain(**{name: value}), version=OLD, beta=True)
    except Malformed as error:
        assert error.path.split(".")[0] in (name, "tool_choice")


def sdk_fields(params: Any) -> set[str]:
    """What the SDK puts into a body: its fields but for those that it sends as headers."""
    return set(params.__annotations__) - {"betas", "user_profile_id", "workspace_id"}


def test_every_field_of_the_newest_sdk_is_known() -> None:
    assert sdk_fields(sdk.message_create_params.MessageCreateParamsBase) <= set(FIELDS)
    assert sdk_fields(sdk_beta.MessageCreateParamsBase) <= set(FIELDS)
