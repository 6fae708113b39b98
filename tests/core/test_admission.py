"""Admission: what passes is the caller's own document, what does not names its field, and nothing else ever happens.

Method: the table of the contract row by row, by model and by version. `test_admission_any` changes anything anywhere.
"""

import copy
from typing import Any

import msgspec
import pytest

from faregate.core.admission import Admitted, admit, model_name, refusal
from faregate.core.errors import InvalidRequest, NotFound, Unsupported
from faregate.core.model import Model
from faregate.wire.request import Malformed
from tests.core.catalogs import HAIKU, OPUS, SONNET, extended, model
from tests.wire.bodies import image, pdf, plain, rich, said, text, tool, without

OLD, NEW = "2023-06-01", "2026-10-21"


def admitted(document: Any, name: str = HAIKU, version: str = OLD, **how: bool) -> Admitted:
    return admit(document, model(name), version, **how)


def refused(document: Any, name: str = HAIKU, version: str = OLD) -> str:
    with pytest.raises(InvalidRequest) as error:
        admitted(document, name, version)
    return error.value.message


def unsupported(document: Any, name: str = HAIKU, found: Model | None = None) -> str:
    with pytest.raises(Unsupported) as error:
        admit(document, found or model(name), OLD)
    assert error.value.status == 422
    assert error.value.details["model"] in error.value.message
    assert error.value.message.startswith(f"{error.value.details['parameter']}: ")
    return error.value.message


def less_able(**lacks: bool) -> Model:
    found = model()
    return msgspec.structs.replace(found, capabilities=msgspec.structs.replace(found.capabilities, **lacks))


def test_a_plain_request_passes_as_the_same_object() -> None:
    document = plain()
    result = admitted(document)

    assert result.document is document
    assert (result.max_tokens, result.min_tokens, result.stream, result.dropped) == (64, 64, False, ())
    assert (result.messages, result.tools, result.images, result.unbounded) == (1, 0, 0, False)


def test_a_rich_request_passes_and_says_what_the_quote_must_know() -> None:
    result = admitted(rich())

    assert result.document == rich()
    assert (result.messages, result.tools, result.images, result.documents) == (4, 2, 3, 1)
    assert (result.stream, result.cache_5m, result.cache_1h) == (True, True, True)
    assert result.media_bytes > 0


@pytest.mark.parametrize(("max_tokens", "least"), [(0, 0), (1, 1), (256, 256), (257, 256), (8_192, 256)])
def test_a_clamp_leaves_a_useful_answer(max_tokens: int, least: int) -> None:
    assert admitted(plain(max_tokens=max_tokens)).min_tokens == least


def test_more_output_than_the_model_gives_is_refused_with_its_limit() -> None:
    assert refused(plain(max_tokens=9_000)) == (
        "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens for claude-haiku-4-5"
    )
    assert admitted(plain(max_tokens=9_000), SONNET).max_tokens == 9_000
    assert len(refused(plain(max_tokens=10**600))) < 200, "a message stays short whatever the number"


def test_a_clamp_never_cuts_into_the_thinking_budget() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1_024}

    assert admitted(plain(max_tokens=8_000, thinking=thinking)).min_tokens == 1_280
    assert admitted(plain(max_tokens=1_025, thinking=thinking)).min_tokens == 1_025
    assert refused(plain(max_tokens=1_024, thinking=thinking)) == (
        "thinking.budget_tokens: 1024 is not below max_tokens, which is 1024"
    )


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("temperature", [0, 1, 0.5, 1.0, 0.0], [-0.1, 1.01, 2]),
        ("top_p", [0, 1, 0.9], [-1, 1.5]),
        ("top_k", [0, 40], [-1]),
    ],
)
def test_a_number_stays_within_the_range_of_the_catalog(field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert admitted(plain(**{field: value})).document[field] == value
    for value in bad:
        assert refused(plain(**{field: value})).startswith(f"{field}: Input should be ")


def test_advice_that_the_model_does_not_take_is_dropped_and_named() -> None:
    document = rich() | {
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": []},
        "speed": "fast",
    }
    before = copy.deepcopy(document)
    result = admitted(document)

    assert set(result.dropped) == {"thinking", "output_config.effort", "context_management", "speed"}
    gone = {"thinking", "output_config", "context_management", "speed"}
    assert result.document == {name: value for name, value in before.items() if name not in gone}
    assert document == before, "the caller's own document is left as it was"


def test_only_the_advice_is_dropped_from_the_output_config() -> None:
    form = {"type": "json_schema", "schema": {}}
    result = admitted(plain(output_config={"effort": "low", "format": form, "novelty": 1}))

    assert result.dropped == ("output_config.effort",)
    assert result.document["output_config"] == {"format": form, "novelty": 1}


def test_a_system_message_may_carry_the_same_advice() -> None:
    told = {"role": "system", "content": "be brief", "output_config": {"effort": "low"}}
    document = plain(
        messages=[{"role": "user", "content": "x"}, told, {**told, "output_config": 3}, {**told, "output_config": {}}]
    )
    result = admitted(document)

    assert result.dropped == ("messages.output_config.effort",)
    assert result.document["messages"][1] == {"role": "system", "content": "be brief"}
    assert result.document["messages"][2:] == document["messages"][2:]
    assert told["output_config"] == {"effort": "low"}
    assert admitted(document, OPUS).document is document


def test_a_system_message_that_only_brought_advice_goes_with_it() -> None:
    told = {"role": "system", "output_config": {"effort": "low"}}
    document = plain(messages=[*plain()["messages"], told])

    assert admitted(document).document["messages"] == plain()["messages"]
    assert admitted(document, SONNET).document is document


def test_each_model_takes_its_own_thinking_and_effort() -> None:
    adaptive, enabled = {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1_024}

    assert admitted(plain(thinking=adaptive), OPUS).document["thinking"] == adaptive
    assert admitted(plain(thinking=enabled, max_tokens=2_000), SONNET).dropped == ()
    assert unsupported(plain(thinking=enabled, max_tokens=2_000), OPUS).startswith(
        "thinking.type: 'enabled', and not one of"
    )
    assert unsupported(plain(thinking={"type": "between_tools"})).startswith("thinking.type: 'between_tools'")
    assert admitted(plain(output_config={"effort": "xhigh"}), OPUS).dropped == ()
    assert admitted(plain(output_config={"effort": "xhigh"}), SONNET).dropped == ("output_config.effort",)


def test_a_value_that_a_model_does_not_take_is_422_and_one_that_cannot_be_is_400() -> None:
    assert unsupported(plain(temperature=0.5), OPUS).startswith("temperature: 0.5, and not one of 1, is not supported")
    assert refused(plain(temperature=1.5), OPUS) == "temperature: Input should be less than or equal to 1"
    assert admitted(plain(temperature=1.0), OPUS).dropped == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("container", "c_1"),
        ("mcp_servers", []),
        ("thread", {"type": "create"}),
        ("fallbacks", "default"),
        ("fallback_credit_token", "t"),
        ("billing_policy", {}),
        ("compaction", {"type": "summarize"}),
        ("inference_geo", "us"),
    ],
)
def test_what_cannot_be_billed_is_not_served(field: str, value: Any) -> None:
    assert unsupported(plain(**{field: value})).startswith(f"{field}: ")


def test_null_asks_for_nothing() -> None:
    document = plain(container=None, inference_geo=None, speed=None, cache_control=None, fallbacks=None)
    assert admitted(document).document is document


def test_tools_that_the_provider_runs_are_not_served_under_any_beta() -> None:
    given = plain(tools=[tool(), {"type": "web_search_20250305", "name": "web_search"}])

    assert unsupported(given).startswith("tools.1.type: web_search_20250305 is run by the provider")
    with pytest.raises(Unsupported):
        admitted(given, beta=True)


@pytest.mark.parametrize("kind", ["web_search_20260318", "mcp_toolset", "advisor_20260301"])
def test_nor_are_they_when_a_message_brings_them(kind: str) -> None:
    definition = {"type": "tool_definition", "definition": {"type": kind, "name": "it"}}
    addition = {"type": "tool_addition", "tool": definition}
    compacted = {"type": "compaction", "content": "x", "tool_changes": [addition]}

    for message in ({"role": "system", "content": [addition]}, {"role": "assistant", "content": [compacted]}):
        with pytest.raises(Unsupported, match=f"messages: {kind} is run by the provider"):
            admitted(plain(messages=[*plain()["messages"], message]), beta=True)


def test_edits_that_clear_are_forwarded_where_an_operator_says_so_and_a_compaction_is_not() -> None:
    rule = 'context_management = { rule = "supported" }'
    found = extended(f"[models.{HAIKU}.parameters]\n{rule}\n").find(HAIKU)
    assert found is not None
    clearing = plain(context_management={"edits": [{"type": "clear_tool_uses_20250919"}]})
    compacting = plain(
        context_management={"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}
    )

    assert admit(clearing, found, OLD).document is clearing
    assert unsupported(compacting, found=found).startswith("context_management.edits.1.type: 'compact_20260112', which")
    assert admitted(compacting).dropped == ("context_management",)


@pytest.mark.parametrize(
    ("lacks", "document", "parameter"),
    [
        ("tools", plain(tools=[tool()]), "tools"),
        ("vision", said(image()), "messages"),
        ("pdf", said(pdf()), "messages"),
        ("prompt_caching", said(text(cache_control={"type": "ephemeral"})), "cache_control"),
    ],
)
def test_a_model_that_cannot_do_it_says_so(lacks: str, document: Any, parameter: str) -> None:
    assert unsupported(document, found=less_able(**{lacks: False})).startswith(f"{parameter}: ")
    admit(document, less_able(), OLD)


def test_an_operator_decides_what_is_advice() -> None:
    strict = extended(f'[models.{HAIKU}.parameters]\n"thinking.type" = {{ values = ["disabled"] }}\n').find(HAIKU)
    assert strict is not None
    assert unsupported(plain(thinking={"type": "adaptive"}), found=strict).startswith("thinking.type: 'adaptive'")


def test_the_version_decides_what_exists() -> None:
    assert refused(plain(temperature=1.0), version=NEW) == "temperature: Extra inputs are not permitted"
    assert refused(said(pdf(), role="assistant"), version=NEW).startswith("messages.0.content.0.type: ")
    assert admitted(said(pdf(), role="assistant")).documents == 1


def test_a_retired_model_is_not_found() -> None:
    with pytest.raises(NotFound, match="claude-haiku-4-5 was retired"):
        admit(plain(), msgspec.structs.replace(model(), lifecycle="retired"), OLD)


def test_counting_tokens_needs_no_max_tokens() -> None:
    result = admitted(without(plain(), "max_tokens"), counting=True)
    assert (result.max_tokens, result.min_tokens) == (0, 0)


def test_the_overhead_grows_with_what_the_template_adds() -> None:
    overhead = model().overhead
    bare = admitted(plain()).overhead_tokens
    typed = admitted(plain(tools=[tool(), {"type": "bash_20250124", "name": "bash"}])).overhead_tokens

    assert bare == overhead.base + overhead.message
    assert typed == bare + overhead.tools + 2 * overhead.tool + overhead.typed_tool


def test_a_beta_may_bring_blocks_we_do_not_know() -> None:
    assert refused(said({"type": "hologram"})).startswith("messages.0.content.0.type: 'hologram' is not a block type")
    assert admitted(said({"type": "hologram"}), beta=True).unbounded


def test_the_body_itself_is_told_from_a_field_of_it() -> None:
    assert refusal(Malformed("not JSON", invalid_json=True)).code == "invalid_body"
    error = refusal(Malformed("Field required", "messages"))
    assert (error.code, error.message, error.details) == (
        "invalid_param",
        "messages: Field required",
        {"parameter": "messages"},
    )


def test_the_name_of_the_model_is_read_first() -> None:
    assert model_name(plain()) == HAIKU
    with pytest.raises(InvalidRequest, match=r"^model: Field required$"):
        model_name({})


def test_a_hundred_thousand_configured_messages_are_cut_in_one_pass() -> None:
    told = {"role": "system", "content": "x", "output_config": {"effort": "low"}}
    result = admitted(plain(messages=[told] * 100_000))

    assert result.dropped == ("messages.output_config.effort",)
    assert "output_config" not in result.document["messages"][99_999]
