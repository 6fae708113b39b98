"""The request: bytes to a JSON object, and the object judged against the Messages API, whatever the model.

The rule: a field is judged only if the Messages API knows it, and then by its shape alone; what a model takes is the
catalog's affair. What `decode` returns can always be written out again: it is bounded in depth and holds no number
that JSON cannot.

    decode(body)              bytes -> dict, or Malformed
    read(document, ...)       dict -> Tally, or Malformed at the first fault
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from faregate.wire.blocks import messages, system
from faregate.wire.shape import (
    EXTRA,
    Malformed,
    at,
    boolean,
    integer,
    mapping,
    number,
    one_of,
    required,
    sequence,
    string,
    table,
)
from faregate.wire.tally import Tally
from faregate.wire.tools import check_choice, tool_choice, tools

__all__ = ["FIELDS", "Malformed", "Tally", "decode", "model_name", "read", "strict"]

DEPTH_MAX: Final = 256
"""Nested arrays and objects. Real requests stay under 40; the encoder and upstream's parser recurse on each level."""

VALUES_MAX: Final = 2_000_000
"""Brackets and commas in a body, in its texts too. A million tokens hold fewer; ten million values of a few bytes each
hold up every other call for seconds, and take ten times their bytes in memory."""

MODEL_CHARS_MAX: Final = 256

STRICT_SINCE: Final = "2026-10-21"
"""The `anthropic-version` that took the sampling parameters away."""
REMOVED: Final = frozenset({"temperature", "top_p", "top_k"})

BUDGET_TOKENS_MIN: Final = 1_024
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
THINKING_TYPES: Final = ("enabled", "adaptive", "disabled", "between_tools")


def decode(body: bytes) -> dict[str, Any]:
    """Parse a body. Of a key given twice the last counts, for us and for upstream, who is sent what we parsed."""
    if len(body) > VALUES_MAX and body.count(b"[") + body.count(b"{") + body.count(b",") > VALUES_MAX:
        raise Malformed(f"The request body has more than {VALUES_MAX} values (brackets and commas)", invalid_json=True)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"The request body is not valid JSON: {error}", invalid_json=True) from None
    except RecursionError:
        raise Malformed(f"The request body is nested deeper than {DEPTH_MAX} levels", invalid_json=True) from None
    if type(document) is not dict:
        raise Malformed("The request body should be a JSON object", invalid_json=True)
    # The walk is exact and needs no luck with brackets inside of strings; a short body cannot be deep.
    if len(body) > 2 * DEPTH_MAX and _deeper_than(document, DEPTH_MAX):
        raise Malformed(f"The request body is nested deeper than {DEPTH_MAX} levels", invalid_json=True)
    return document


def _deeper_than(document: dict[str, Any], depth: int) -> bool:
    """Level by level, so that the check itself never recurses. Empty ones hold nothing and are not counted."""
    level: list[Any] = [document.values()]
    for _ in range(depth):
        inner = []
        for values in level:
            for value in values:
                kind = type(value)
                if kind is str:
                    continue
                if kind is dict and value:
                    inner.append(value.values())
                elif kind is list and value:
                    inner.append(value)
        if not inner:
            return False
        level = inner
    return True


def strict(version: str) -> bool:
    """Whether the rules of the 2026-10-21 version hold; versions are dates."""
    return version >= STRICT_SINCE


def read(document: dict[str, Any], *, version: str, beta: bool, counting: bool = False) -> Tally:
    """Judge a whole request; `counting` is for count_tokens, which needs no `max_tokens`."""
    tally = Tally(strict=strict(version), beta=beta)
    for name in ("model", "messages") if counting else ("model", "messages", "max_tokens"):
        if name not in document:
            required(document, name)
    name = ""
    try:
        for name, value in document.items():
            check = FIELDS.get(name)
            if check is None or (tally.strict and name in REMOVED):
                raise Malformed(EXTRA)
            check(value, tally)
    except Malformed as error:
        error.under(name[:64])
        raise
    if "tool_choice" in document:
        check_choice(document["tool_choice"], tally)
    return tally


def model_name(document: dict[str, Any]) -> str:
    """The model that is asked for, which must be known before the rest can be judged."""
    value = required(document, "model")
    with at("model"):
        _model(value, None)
    return str(value)


def _model(value: object, _: Tally | None) -> None:
    if type(value) is not str:
        string(value)
    elif not 1 <= len(value) <= MODEL_CHARS_MAX:
        raise Malformed(f"String should have 1 to {MODEL_CHARS_MAX} characters")


def _max_tokens(value: object, _: Tally) -> None:
    if type(value) is not int:
        integer(value)
    elif value < 0:
        raise Malformed("Input should be greater than or equal to 0")


def _thinking(value: object, _: Tally) -> None:
    if type(value) is not dict:
        raise Malformed("Input should be an object")
    one_of(value.get("type"), THINKING_TYPES, "type")
    if value["type"] == "enabled":
        budget = required(value, "budget_tokens")
        if type(budget) is not int or budget < BUDGET_TOKENS_MIN:
            raise Malformed(f"Input should be an integer greater than or equal to {BUDGET_TOKENS_MIN}", "budget_tokens")


def output_config(value: object, _: Tally) -> None:
    """Judge the output's configuration; keys of it that we do not know are upstream's to judge."""
    if type(value) is not dict:
        raise Malformed("Input should be an object")
    if value.get("effort") is not None:
        one_of(value["effort"], EFFORTS, "effort")
    if value.get("format") is not None:
        form = table(value, "format")
        with at("format"):
            one_of(form.get("type"), ("json_schema",), "type")
            table(form, "schema")


def _metadata(value: object, _: Tally) -> None:
    if type(value) is not dict:
        raise Malformed("Input should be an object")
    user_id = value.get("user_id")
    if user_id is not None and type(user_id) is not str:
        raise Malformed("Input should be a valid string", "user_id")


def _stop_sequences(value: object, _: Tally) -> None:
    if type(value) is not list:
        raise Malformed("Input should be a valid array")
    for index, stop in enumerate(value):
        if type(stop) is not str:
            raise Malformed("Input should be a valid string", str(index))


def _cache_control(value: object, tally: Tally) -> None:
    tally.mark(value)


def _text_or_mapping(value: object) -> None:
    if type(value) is not str:
        mapping(value)


def _text_or_sequence(value: object) -> None:
    if type(value) is not str:
        sequence(value)


Check = Callable[[Any, Tally], None]


def _any(_: object, __: Tally) -> None:
    """Known by name alone."""


def _of(check: Callable[[object], None], *, nullable: bool = False) -> Check:
    def judge(value: object, _: Tally) -> None:
        if value is not None or not nullable:
            check(value)

    return judge


def _choice(*choices: str, nullable: bool = False) -> Check:
    return _of(lambda value: one_of(value, choices), nullable=nullable)


FIELDS: Final[Mapping[str, Check]] = {
    "model": _model,
    "messages": messages,
    "max_tokens": _max_tokens,
    "system": system,
    "temperature": _of(number),
    "top_p": _of(number),
    "top_k": _of(integer),
    "tools": tools,
    "tool_choice": tool_choice,
    "stream": _of(boolean),
    "stop_sequences": _stop_sequences,
    "metadata": _metadata,
    "cache_control": _cache_control,
    "thinking": _thinking,
    "output_config": output_config,
    "output_format": _of(mapping, nullable=True),
    "service_tier": _choice("auto", "standard_only"),
    "speed": _choice("standard", "fast", nullable=True),
    "inference_geo": _of(string, nullable=True),
    "diagnostics": _of(mapping, nullable=True),
    "container": _of(_text_or_mapping, nullable=True),
    "context_management": _of(mapping, nullable=True),
    "compaction": _of(mapping, nullable=True),
    "mcp_servers": _of(sequence),
    "thread": _of(mapping, nullable=True),
    "fallbacks": _of(_text_or_sequence, nullable=True),
    "fallback_credit_token": _of(string, nullable=True),
    "billing_policy": _of(mapping, nullable=True),
    "safeguards": _any,
    "tags": _any,
}
"""Every top-level key of the Messages API, betas too, with the check of its shape."""
