"""A Messages request as Chat Completions takes it: the conversation, tools, sampling, and the form of the answer.

One rule: pure, and whole or refused. What asks for something that the peer cannot give is Unsupported, with its path;
what only advises is left out, and docs/upstreams.md says what that is.

    document ──translate()──> the body of POST /chat/completions
"""

import hashlib
from typing import Any, Final

from faregate.core.errors import InvalidRequest, Unsupported
from faregate.upstreams.chat_content import conversation

REFUSED: Final = (
    "billing_policy", "compaction", "container", "fallback_credit_token", "fallbacks", "mcp_servers", "thread",
)  # fmt: skip
"""What only Anthropic's own servers can do. A catalog may let it pass for the sake of another upstream."""

USER_CHARS_MAX: Final = 64
"""What OpenAI takes; others take 128. Claude Code's are longer than either."""


def translate(document: dict[str, Any], *, model: str, official: bool, stream: bool) -> dict[str, Any]:
    """`model` is the peer's own name for it; `official` is OpenAI's own service, which takes no parameter that it does
    not know. Raises Unsupported or InvalidRequest.
    """
    for name in REFUSED:
        if document.get(name):
            raise Unsupported(f"{name}: this model's upstream does not support it")
    body: dict[str, Any] = {"model": model, "messages": conversation(document)}
    # OpenAI's reasoning models take the newer name alone; servers of one's own may not know it, and would not stop.
    limit = "max_completion_tokens" if official else "max_tokens"
    # A pre-warm generates nothing; here one token is the least, and it is thrown away.
    body[limit] = max(1, document["max_tokens"])
    body |= _sampling(document, official=official)
    body |= _tools(document)
    body |= _form(document)
    if body["messages"][-1]["role"] == "assistant":
        body |= _prefill(document, official=official)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def prefill(body: dict[str, Any]) -> str:
    """The answer's first words, where a translated conversation ends with them."""
    last = body["messages"][-1]
    return last["content"] or "" if last["role"] == "assistant" else ""


def stops(document: dict[str, Any]) -> list[str]:
    """The stop sequences that are sent."""
    return [text for text in document.get("stop_sequences") or [] if text]


def _sampling(document: dict[str, Any], *, official: bool) -> dict[str, Any]:
    told = {name: document[name] for name in ("temperature", "top_p") if document.get(name) is not None}
    if document.get("top_k") is not None:
        if official:
            raise Unsupported("top_k: this model's upstream does not support it")
        told["top_k"] = document["top_k"]
    if found := stops(document):
        told["stop"] = found
    if user := (document.get("metadata") or {}).get("user_id"):
        told["user"] = user if len(user) <= USER_CHARS_MAX else hashlib.sha256(user.encode()).hexdigest()
    return told


def _tools(document: dict[str, Any]) -> dict[str, Any]:
    tools = document.get("tools") or []
    if not tools:
        return {}
    told: dict[str, Any] = {"tools": [_tool(tool, f"tools.{index}") for index, tool in enumerate(tools)]}
    choice = document.get("tool_choice") or {"type": "auto"}
    match choice["type"]:
        case "any":
            told["tool_choice"] = "required"
        case "tool":
            told["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        case kind:
            told["tool_choice"] = kind
    if choice.get("disable_parallel_tool_use"):
        told["parallel_tool_calls"] = False
    return told


def _tool(tool: dict[str, Any], path: str) -> dict[str, Any]:
    kind = tool.get("type") or "custom"
    if kind != "custom":
        raise Unsupported(
            f"{path}.type: {str(kind)[:64]!r} is known to Anthropic's own models; describe the tool to this one, as a "
            "custom tool with an input_schema"
        )
    schema = tool["input_schema"]
    if schema.get("type") == "object" and "properties" not in schema:
        schema = {**schema, "properties": {}}  # OpenAI insists on them, and tools that take nothing often have none.
    function: dict[str, Any] = {"name": tool["name"], "parameters": schema}
    if tool.get("description"):
        function["description"] = tool["description"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _form(document: dict[str, Any]) -> dict[str, Any]:
    path, form = "output_config.format", (document.get("output_config") or {}).get("format")
    if form is None:
        path, form = "output_format", document.get("output_format")
    if form is None:
        return {}
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise Unsupported(f"{path}.type: this model's upstream knows json_schema, with its schema, alone")
    schema = {"name": "answer", "schema": form["schema"], "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _prefill(document: dict[str, Any], *, official: bool) -> dict[str, Any]:
    """The last words are the answer's own first ones."""
    if official:
        last = len(document["messages"]) - 1
        raise InvalidRequest(
            f"messages.{last}.role: This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
    return {"continue_final_message": True, "add_generation_prompt": False}
