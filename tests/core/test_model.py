"""A model as the models endpoint shows it: the provider's own SDK is the judge of the shape."""

import msgspec
import pytest
from anthropic.types import ModelInfo

from faregate.core.model import Rule, model_info
from tests.core.catalogs import HAIKU, OPUS, SONNET, model


@pytest.mark.parametrize("name", [HAIKU, SONNET, OPUS])
def test_the_sdk_reads_what_we_show_of_a_model(name: str) -> None:
    shown = ModelInfo.model_validate_json(msgspec.json.encode(model_info(model(name))), strict=False)

    assert (shown.id, shown.type, shown.lifecycle) == (name, "model", "active")
    assert shown.max_tokens == model(name).max_output
    assert shown.max_input_tokens == model(name).context_window
    assert shown.capabilities is not None
    assert shown.capabilities.image_input.supported


def test_what_is_shown_of_thinking_and_effort_follows_the_rules() -> None:
    haiku = model_info(model(HAIKU))["capabilities"]
    opus = model_info(model(OPUS))["capabilities"]

    assert haiku["thinking"]["types"]["enabled"] == {"supported": True}
    assert haiku["thinking"]["types"]["adaptive"] == {"supported": False}
    assert haiku["effort"]["supported"] is False
    assert opus["thinking"]["types"]["enabled"] == {"supported": False}
    assert opus["thinking"]["types"]["adaptive"] == {"supported": True}
    assert opus["effort"]["xhigh"] == {"supported": True}


def test_what_the_gateway_does_not_serve_is_not_shown_as_able() -> None:
    able = model_info(model(HAIKU))["capabilities"]
    assert not any(able[name]["supported"] for name in ("server_tools", "code_execution", "context_management"))


@pytest.mark.parametrize(
    ("rule", "plain"),
    [
        (Rule(), True),
        (Rule(en="words", default="1"), True),
        (Rule(rule="advisory"), False),
        (Rule(rule="unsupported"), False),
        (Rule(minimum=0), False),
        (Rule(maximum=1), False),
        (Rule(values=("a",)), False),
    ],
)
def test_a_rule_is_plain_when_every_value_is_forwarded(rule: Rule, *, plain: bool) -> None:
    assert rule.plain is plain


def test_openais_clients_read_the_same_model_with_the_second_it_was_made_in() -> None:
    shown = model_info(model(HAIKU))
    assert (shown["object"], shown["owned_by"], shown["created"]) == ("model", "faregate", 1_760_486_400)

    day = msgspec.structs.replace(model(HAIKU), created_at="2025-10-15")
    later = msgspec.structs.replace(model(HAIKU), created_at="2025-10-15T02:00:00+02:00")
    assert model_info(day)["created"] == model_info(later)["created"] == 1_760_486_400
