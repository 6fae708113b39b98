"""A model as the catalog describes it: what it is called, what it takes, what bounds it, and what it costs.

The rule: everything the gateway knows of a model is here, and all of it comes from the catalog file. No other code
names a model or holds a figure of one.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from faregate.core.pricing import PriceVersion
from faregate.wire.request import EFFORTS, THINKING_TYPES

Value = str | int | float
Positive = Annotated[int, msgspec.Meta(gt=0)]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model does with a parameter."""

    rule: Literal["supported", "advisory", "unsupported"] = "supported"
    """Forwarded; dropped and named in the answer; or refused with 422."""
    minimum: int | float | None = None
    maximum: int | float | None = None
    values: tuple[Value, ...] = ()
    """When there are any, only these are forwarded."""
    advisory_values: tuple[Value, ...] = ()
    """Of the others, these are dropped as advice; what is left is refused with 422."""
    default: str | None = None
    """As the page prints it."""
    type: str = ""
    en: str = ""
    zh: str = ""
    """What the page says of it."""

    @property
    def plain(self) -> bool:
        """Whether every well-formed value is forwarded, so that admission need not look."""
        return self.rule == "supported" and self.minimum is None and self.maximum is None and not self.values


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tools: bool
    vision: bool
    pdf: bool
    prompt_caching: bool
    streaming: bool
    citations: bool
    structured_outputs: bool


class Overhead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens that the provider's prompt template adds, beyond the UTF-8 bytes of the body: upper bounds."""

    base: Natural
    message: Natural
    tools: Natural
    """Once, when there are tools at all: the provider's own instructions for using them."""
    tool: Natural
    typed_tool: Natural
    """A tool whose description the provider writes."""


class Words(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page says of this model alone."""

    summary: str
    caching: str
    when: tuple[str, ...]


class Prose(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    en: Words
    zh: Words


class Model(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    display_name: str
    line: str | None = None
    created_at: str
    """RFC 3339, as are the other times."""
    lifecycle: Literal["active", "deprecated", "retired"]
    deprecated_at: str | None = None
    retires_at: str | None = None
    aliases: tuple[str, ...] = ()
    context_window: int
    max_output: int
    image_tokens_max: int
    """The most tokens that one image can be: the provider scales larger ones down."""
    document_tokens_max: int
    """The most that one document can be: pages allowed × the most tokens of a page."""
    overhead: Overhead
    capabilities: Capabilities
    runs_to_completion: bool = False
    """Whether upstream generates and bills to the end when it is hung up on: then a caller's hang-up does not cancel
    it, and the rest is read, to learn what it cost."""
    parameters: dict[str, Rule]
    """Every parameter of the Messages API, by name; nested ones as `thinking.type`."""
    judged: dict[str, Rule]
    """Those of `parameters` whose values must be looked at."""
    prose: Prose | None = None
    prices: tuple[PriceVersion, ...]
    """By date; versions that an operator adds later live in the database."""


OWNER: Final = "faregate"
"""OpenAI's clients want one; whose weights they are, the catalog does not say."""


def model_info(model: Model) -> dict[str, Any]:
    """The model as `GET /v1/models` shows it: one shape that the provider's SDK reads, and OpenAI's too."""
    return {
        "type": "model",
        "object": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": model.created_at,
        "created": _unix_seconds(model.created_at),
        "owned_by": OWNER,
        "lifecycle": model.lifecycle,
        "line": model.line,
        "deprecated_at": model.deprecated_at,
        "retires_at": model.retires_at,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output,
        "capabilities": _capabilities(model),
    }


def _unix_seconds(written: str) -> int:
    at = datetime.fromisoformat(written)  # A day alone is its first moment, in UTC.
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp())


def _capabilities(model: Model) -> dict[str, Any]:
    """What this gateway serves of the model: batches of every one, server-run tools and context edits of none."""
    able = model.capabilities
    efforts = _forwarded(model.parameters["output_config.effort"], EFFORTS)
    thinking = _forwarded(model.parameters["thinking.type"], THINKING_TYPES)
    return {
        "batch": _support(able=True),
        "citations": _support(able=able.citations),
        "code_execution": _support(able=False),
        "context_management": _support(able=model.parameters["context_management"].rule == "supported"),
        "effort": {
            **_support(able=bool(efforts)),
            **{effort: _support(able=effort in efforts) for effort in EFFORTS},
        },
        "image_input": _support(able=able.vision),
        "pdf_input": _support(able=able.pdf),
        "server_tools": {
            **_support(able=False),
            "code_execution": _support(able=False),
            "web_search": _support(able=False),
        },
        "structured_outputs": _support(able=able.structured_outputs),
        "thinking": {
            **_support(able=bool(set(thinking) - {"disabled"})),
            "types": {kind: _support(able=kind in thinking) for kind in THINKING_TYPES},
        },
    }


def _support(*, able: bool) -> dict[str, bool]:
    return {"supported": able}


def _forwarded(rule: Rule, choices: tuple[str, ...]) -> tuple[str, ...]:
    if rule.rule != "supported":
        return ()
    return tuple(choice for choice in choices if not rule.values or choice in rule.values)
