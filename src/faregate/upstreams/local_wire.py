"""A Messages request as the embedded model takes it: plain turns, a system text, sampling, and what it is held to.

One rule: everything that a caller may send becomes text that a chat template takes, or a refusal that names the block.

    document ──plan()──> Plan ──chat()──> its template and its count
                              ──completion(prompt)──> its generation

The model's prefix cache is shared by all. Each wallet's prompts therefore begin with digits of its own (`salt`), so
that no two wallets' prompts are alike beyond the template's first words; what the digits cost is taken off every count.
"""

import enum
import hashlib
import hmac
from typing import Any, Final

import msgspec

from faregate.core.errors import InvalidRequest, Unsupported
from faregate.upstreams.local_schema import Schema, choose, constrain

SALT_DIGITS: Final = 16
"""53 bits: digits, because a tokenizer takes them one by one (or in even groups) never with what follows."""

DEFAULT_SYSTEM: Final = "You are a helpful AI assistant."
"""What a chat template says by itself when there is no system text; with the salt there always is one."""


class Shape(enum.Enum):
    """What an answer is."""

    TEXT = enum.auto()
    TOOL = enum.auto()
    """The input of the one tool that is forced."""
    CHOICE = enum.auto()
    """`{"name": ..., "input": ...}`: one tool of several."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One request, translated."""

    system: str
    turns: list[dict[str, str]]
    shape: Shape
    tool: str | None
    """The forced tool's name, where it is known from the start."""
    schema: Schema | None
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    """0 is off."""
    stop: list[str]


def plan(document: dict[str, Any]) -> Plan:
    """Translate a request that admission has passed. Raises Unsupported or InvalidRequest, with the path."""
    shape, tool, schema, tools_text = _forced(document)
    system = _text(document.get("system") or DEFAULT_SYSTEM, "system")
    return Plan(
        system="\n\n".join(part for part in (system, tools_text) if part),
        turns=_turns(document["messages"]),
        shape=shape,
        tool=tool,
        schema=schema,
        max_tokens=document.get("max_tokens", 0),
        temperature=_given(document, "temperature", 1.0),
        top_p=_given(document, "top_p", 1.0),
        top_k=_given(document, "top_k", 0),
        # What is held to a schema ends where the schema does.
        stop=[text for text in document.get("stop_sequences") or [] if text] if shape is Shape.TEXT else [],
    )


def salt(secret: bytes, wallet_id: str) -> str:
    """A wallet's own first line: the same for all its calls, and not to be guessed by others."""
    digest = hmac.digest(secret, wallet_id.encode(), hashlib.sha256)
    return f"{int.from_bytes(digest[:8]) % 10**SALT_DIGITS:0{SALT_DIGITS}d}\n"


def chat(planned: Plan, first_line: str) -> dict[str, Any]:
    """The conversation as the template takes it."""
    return {"messages": [{"role": "system", "content": first_line + planned.system}, *planned.turns]}


def completion(planned: Plan, prompt: str) -> dict[str, Any]:
    """The generation, always streamed: only a stream notices that its reader has gone."""
    request: dict[str, Any] = {
        "prompt": prompt,
        # It always generates one token; for a pre-warm that one is thrown away.
        "n_predict": max(1, planned.max_tokens),
        "temperature": planned.temperature,
        "top_p": planned.top_p,
        "top_k": planned.top_k,
        "min_p": 0.0,
        "stop": planned.stop,
        "cache_prompt": True,
        "stream": True,
        "return_progress": True,
    }
    if planned.schema is not None:
        request["json_schema"] = planned.schema
    return request


def _given(document: dict[str, Any], name: str, default: Any) -> Any:
    value = document.get(name)
    return default if value is None else value


def _turns(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Merge what one side says in a row, as the real API does: many templates insist that the sides alternate."""
    turns: list[dict[str, str]] = []
    for index, message in enumerate(messages):
        text = _text(message["content"], f"messages.{index}.content")
        role = message["role"]
        if role == "system":
            # In the midst of a conversation few templates know a system turn; a user's turn can carry it.
            role, text = "user", f"[system] {text}"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = "\n\n".join(part for part in (turns[-1]["content"], text) if part)
        else:
            turns.append({"role": role, "content": text})
    if len(turns) > 1 and turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()  # Nothing to go on from: a turn of thinking alone.
    return turns


def _text(content: str | list[dict[str, Any]], path: str) -> str:
    if isinstance(content, str):
        return content
    parts = [_block(block, f"{path}.{index}") for index, block in enumerate(content)]
    return "\n\n".join(part for part in parts if part)


def _block(block: dict[str, Any], path: str) -> str:
    match block.get("type"):
        case "text":
            return str(block["text"])
        case "thinking" | "redacted_thinking":
            return ""
        case "tool_use":
            return f"[call {block['name']}] {_json(block['input'])}"
        case "tool_result":
            word = "error" if block.get("is_error") else "result"
            return f"[{word}] {_text(block.get('content') or '', f'{path}.content')}"
        case "search_result":
            return f"[{block.get('title', '')}] {_text(block.get('content') or '', f'{path}.content')}"
        case "image" | "document" as kind:
            raise Unsupported(
                f"{path}: {kind} blocks cannot be read by the offline model: vision needs a real upstream"
                " (set ANTHROPIC_API_KEY, or configure an upstream)"
            )
        case kind:
            raise Unsupported(f"{path}: {str(kind)[:64]!r} blocks need a real upstream; the offline model reads text")


def _forced(document: dict[str, Any]) -> tuple[Shape, str | None, Schema | None, str]:
    """What the answer is held to, and what the model must be told of it."""
    choice = document.get("tool_choice") or {}
    if choice.get("type") in ("any", "tool"):
        return _forced_tool(choice, document.get("tools") or [])
    form = (document.get("output_config") or {}).get("format")
    if form is None:
        return Shape.TEXT, None, None, ""
    path = "output_config.format"
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise Unsupported(f"{path}.type: The offline model knows json_schema alone")
    return Shape.TEXT, None, constrain(form.get("schema"), f"{path}.schema"), ""


def _forced_tool(choice: dict[str, Any], tools: list[dict[str, Any]]) -> tuple[Shape, str | None, Schema | None, str]:
    numbered = [(index, tool) for index, tool in enumerate(tools) if "name" in tool]
    if choice["type"] == "tool":
        numbered = [(index, tool) for index, tool in numbered if tool["name"] == choice.get("name")]
        if not numbered:
            raise InvalidRequest(f"tool_choice.name: Tool {str(choice.get('name'))[:64]!r} not found in provided tools")
    # Typed tools (bash, web search, ...) have no schema of their own that the answer could be held to.
    callable_ = [(index, tool) for index, tool in numbered if isinstance(tool.get("input_schema"), dict)]
    if not callable_:
        raise Unsupported(
            "tool_choice: The offline model can be made to call tools that bring an input_schema, and there is none"
        )
    told = "\n".join(_told(tool) for _, tool in callable_)
    forced = [(str(tool["name"]), tool["input_schema"], f"tools.{index}.input_schema") for index, tool in callable_]
    if len(forced) == 1:
        name, schema, path = forced[0]
        return (
            Shape.TOOL,
            name,
            constrain(schema, path),
            f"Answer by calling this tool, with its input as JSON.\n{told}",
        )
    return Shape.CHOICE, None, choose(forced), f"Answer by calling one of these tools, as JSON.\n{told}"


def _told(tool: dict[str, Any]) -> str:
    return f"{tool['name']}: {tool.get('description') or ''} {_json(tool['input_schema'])}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
