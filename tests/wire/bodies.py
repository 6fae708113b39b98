"""Requests for the tests of admission: a whole valid one, and ways to change it at a path."""

import copy
from typing import Any

MODEL = "claude-haiku-4-5"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

Document = dict[str, Any]


def plain(**more: Any) -> Document:
    """The smallest request, with more fields."""
    return {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}], **more}


def said(*blocks: Any, role: str = "user", **more: Any) -> Document:
    """A request of one message that is made of blocks."""
    return plain(messages=[{"role": role, "content": list(blocks)}], **more)


def text(words: str = "hello", **more: Any) -> Document:
    return {"type": "text", "text": words, **more}


def image(**source: Any) -> Document:
    return {"type": "image", "source": source or {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def pdf(**source: Any) -> Document:
    return {
        "type": "document",
        "source": source or {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    }


def tool(name: str = "look", **more: Any) -> Document:
    return {"name": name, "description": "looks", "input_schema": {"type": "object", "properties": {}}, **more}


def rich() -> Document:
    """A request that has nearly everything, and is valid."""
    return {
        "model": MODEL,
        "max_tokens": 2_048,
        "system": [text("be kind", cache_control={"type": "ephemeral", "ttl": "1h"})],
        "temperature": 0.5,
        "top_p": 1,
        "stop_sequences": ["END"],
        "stream": True,
        "metadata": {"user_id": "u-1"},
        "service_tier": "auto",
        "thinking": {"type": "disabled"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "tools": [tool("look"), tool("leap", cache_control={"type": "ephemeral"})],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "messages": [
            {"role": "user", "content": [text(), image(), pdf(), image(type="url", url="https://example.org/a.png")]},
            {"role": "system", "content": "mind the gap"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "eHh4"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": [1, None, 2.5]}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": False,
                        "content": [text("seen", cache_control={"type": "ephemeral"}), image()],
                    },
                    {"type": "search_result", "source": "https://a", "title": "A", "content": [text("found")]},
                ],
            },
        ],
    }


def at(document: Document, path: str) -> Any:
    """The value at `messages.0.content`."""
    value: Any = document
    for part in path.split("."):
        value = value[int(part) if isinstance(value, list) else part]
    return value


def changed(document: Document, path: str, value: Any) -> Document:
    """A copy with another value at `path`."""
    document = copy.deepcopy(document)
    holder_path, _, name = path.rpartition(".")
    holder: Any = at(document, holder_path) if holder_path else document
    holder[int(name) if isinstance(holder, list) else name] = value
    return document


def without(document: Document, path: str) -> Document:
    """A copy without the value at `path`."""
    document = copy.deepcopy(document)
    holder_path, _, name = path.rpartition(".")
    holder: Any = at(document, holder_path) if holder_path else document
    del holder[int(name) if isinstance(holder, list) else name]
    return document
