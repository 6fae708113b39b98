"""Admission: whether a request may be sent to a model, and what of it.

The rule: the wire format is judged first and by itself (`wire.request`), then the model's own table of parameters, and
nothing about a model is known here but that table. What passes is the caller's document, the same object unless a
parameter was dropped; it is never changed in place.

    read ──> limits ──> parameters ──> Admitted
      400      400        400 out of range | 422 not for this model | dropped as advice
"""

from typing import Any, Final

import msgspec

from faregate.core.errors import InvalidRequest, NotFound, Unsupported
from faregate.core.model import Model, Rule, Value
from faregate.wire import request
from faregate.wire.request import Malformed, Tally, read

OUTPUT_MIN: Final = 256
"""A clamp leaves at least this many tokens of output, or the call is refused: fewer help nobody."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be sent, and what the quote needs to know of it."""

    document: dict[str, Any]
    """Without what was dropped. Not to be changed."""
    model: Model
    max_tokens: int
    min_tokens: int
    """The fewest output tokens it may be clamped to."""
    stream: bool
    dropped: tuple[str, ...]
    """Parameters that only advise and that this model does not take, as `output_config.effort`."""
    media_bytes: int
    """Of the body, the base64 data of images and documents: priced by the model's maximum, not by their bytes."""
    images: int
    documents: int
    unbounded: bool
    """Whether content is reached that is neither in the body nor bounded by a maximum of the model."""
    overhead_tokens: int = 0
    """The template's upper bound for this request, by the model's overhead."""
    messages: int
    tools: int
    cache_5m: bool
    cache_1h: bool
    """Whether it asks for cache writes that live so long."""


def admit(
    document: dict[str, Any], model: Model, version: str, *, beta: bool = False, counting: bool = False
) -> Admitted:
    """Judge a request. `counting` is for count_tokens, where `max_tokens` may be missing (and is then 0).

    Raises InvalidRequest (400) or Unsupported (422), each with the field's path first in its message.
    """
    if model.lifecycle == "retired":
        raise NotFound(f"model: {model.id} was retired by its provider", code="model_not_found")
    try:
        tally = read(document, version=version, beta=beta, counting=counting)
    except Malformed as error:
        raise refusal(error) from None
    max_tokens = document.get("max_tokens", 0)
    if max_tokens > model.max_output:
        raise InvalidRequest(
            f"max_tokens: {_shown(max_tokens)} > {model.max_output}, which is the maximum allowed number of output "
            f"tokens for {model.id}",
            details={"parameter": "max_tokens", "maximum": model.max_output},
        )
    _check_capabilities(tally, model)
    dropped = _dropped(document, tally, model)
    if dropped:
        document = _without(document, dropped, tally.configured)
    if document.get("context_management") is not None:
        _check_edits(document["context_management"], model)
    return Admitted(
        document=document,
        model=model,
        max_tokens=max_tokens,
        min_tokens=_least_output(document, max_tokens),
        stream=document.get("stream", False),
        dropped=dropped,
        media_bytes=tally.media_bytes,
        images=tally.images,
        documents=tally.documents,
        unbounded=tally.unbounded,
        overhead_tokens=_overhead(tally, model),
        messages=tally.messages,
        tools=tally.tools,
        cache_5m=tally.cache_5m,
        cache_1h=tally.cache_1h,
    )


def refusal(error: Malformed) -> InvalidRequest:
    """What a caller is told of a request that breaks the wire format."""
    if not error.path:
        return InvalidRequest(error.message, code="invalid_body")
    return InvalidRequest(str(error), details={"parameter": error.path})


def model_name(document: dict[str, Any]) -> str:
    """The model that is asked for, before it is known which one that is. Raises InvalidRequest."""
    try:
        return request.model_name(document)
    except Malformed as error:
        raise refusal(error) from None


def _least_output(document: dict[str, Any], max_tokens: int) -> int:
    thinking = document.get("thinking")
    if thinking is None or thinking["type"] != "enabled":
        return min(max_tokens, OUTPUT_MIN)
    # Thinking comes out of max_tokens first: a clamp below its budget would buy thoughts and no answer.
    budget: int = thinking["budget_tokens"]
    if budget >= max_tokens:
        raise InvalidRequest(
            f"thinking.budget_tokens: {budget} is not below max_tokens, which is {max_tokens}",
            details={"parameter": "thinking.budget_tokens"},
        )
    return min(max_tokens, budget + OUTPUT_MIN)


def _overhead(tally: Tally, model: Model) -> int:
    overhead = model.overhead
    tokens = overhead.base + overhead.message * tally.messages
    if tally.tools:
        tokens += overhead.tools + overhead.tool * tally.tools + overhead.typed_tool * tally.typed_tools
    return tokens


def _check_capabilities(tally: Tally, model: Model) -> None:
    able = model.capabilities
    if tally.server_run:
        path, kind = tally.server_run[0]
        raise _unsupported(path, f"{kind} is run by the provider and has no price here, so it", model)
    if tally.tools and not able.tools:
        raise _unsupported("tools", "tool use", model)
    if tally.files:
        # A caller has no files here: an id that upstream knows would be the operator's, or another caller's.
        raise _unsupported("messages", "a file by its id, instead of its content in base64 or its URL,", model)
    if tally.images and not able.vision:
        raise _unsupported("messages", "an image block", model)
    if tally.documents and not able.pdf:
        raise _unsupported("messages", "a document block", model)
    if tally.marks and not able.prompt_caching:
        raise _unsupported("cache_control", "prompt caching", model)


def _check_edits(management: dict[str, Any], model: Model) -> None:
    """Edits that only clear are bounded by what they clear; a compaction is billed outside of the usage's totals."""
    edits = management.get("edits") or []
    for index, edit in enumerate(edits if type(edits) is list else ()):
        kind = edit.get("type") if type(edit) is dict else None
        if type(kind) is str and not kind.startswith("clear_"):
            raise _unsupported(f"context_management.edits.{index}.type", f"{kind[:64]!r}, which has no bound,", model)


def _unsupported(path: str, what: str, model: Model) -> Unsupported:
    return Unsupported(f"{path}: {what} is not supported by {model.id}", details={"parameter": path, "model": model.id})


def _dropped(document: dict[str, Any], tally: Tally, model: Model) -> tuple[str, ...]:
    """Judge each parameter by the model's rule; the names of those to drop."""
    rules = model.judged
    dropped = [
        name
        for name, value in document.items()
        if name in rules and value is not None and _is_advice(name, value, rules[name], model)
    ]
    if "thinking" in document and "thinking.type" in rules and "thinking" not in dropped:
        kind = document["thinking"]["type"]
        if _is_advice("thinking.type", kind, rules["thinking.type"], model):
            dropped.append("thinking")
    if "output_config" in document and "output_config" not in dropped:
        dropped += _advice_in_output(document["output_config"], "output_config", model)
    advice = {
        name for index in tally.configured for name in _advice_in_message(document["messages"][index], index, model)
    }
    dropped += sorted(f"messages.{name}" for name in advice)
    return tuple(dropped)


def _advice_in_message(message: dict[str, Any], index: int, model: Model) -> list[str]:
    """A system message may carry an `output_config` of its own, which a model takes or leaves as it does the other."""
    config = message["output_config"]
    if type(config) is not dict:
        return []
    path = f"messages.{index}."
    return [name.removeprefix(path) for name in _advice_in_output(config, f"{path}output_config", model)]


def _advice_in_output(config: dict[str, Any], path: str, model: Model) -> list[str]:
    return [
        f"{path}.{key}"
        for key, value in config.items()
        if value is not None
        and (rule := model.judged.get(f"output_config.{key}")) is not None
        and _is_advice(f"{path}.{key}", value, rule, model)
    ]


def _is_advice(path: str, value: Any, rule: Rule, model: Model) -> bool:
    """Whether to drop it; raises when it can be neither forwarded nor dropped."""
    if rule.rule == "unsupported":
        raise _unsupported(path, "this parameter", model)
    if rule.rule == "advisory":
        return True
    if rule.minimum is not None and value < rule.minimum:
        raise _out_of_range(path, f"greater than or equal to {rule.minimum}")
    if rule.maximum is not None and value > rule.maximum:
        raise _out_of_range(path, f"less than or equal to {rule.maximum}")
    if not rule.values or value in rule.values:
        return False
    if value in rule.advisory_values:
        return True
    raise _unsupported(path, f"{_shown(value)}, and not one of {', '.join(map(_shown, rule.values))},", model)


def _shown(value: Value) -> str:
    return repr(value)[:64]


def _out_of_range(path: str, bound: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: Input should be {bound}", details={"parameter": path})


def _without(document: dict[str, Any], dropped: tuple[str, ...], configured: list[int]) -> dict[str, Any]:
    """A copy of the document without some of its parameters, sharing all that stays."""
    inside = [path.removeprefix("messages.") for path in dropped if path.startswith("messages.")]
    for path in dropped:
        if not path.startswith("messages."):
            document = _cut(document, path)
    if inside:
        messages = list(document["messages"])
        for index in configured:
            for path in inside:
                messages[index] = _cut(messages[index], path)
        # A message that only brought advice has nothing left to say.
        said = [message for message in messages if "content" in message or "output_config" in message]
        document = {**document, "messages": said}
    return document


def _cut(holder: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy without what is at `path`; an object that this empties goes too, since a model may not take even that."""
    name, _, rest = path.partition(".")
    inner = holder.get(name)
    if rest and (type(inner) is not dict or rest not in inner):
        return holder
    if rest and (kept := _cut(inner or {}, rest)):
        return {**holder, name: kept}
    return {key: value for key, value in holder.items() if key != name}
