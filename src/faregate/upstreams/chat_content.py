"""What is said in a conversation, from Anthropic's blocks to the messages of Chat Completions.

One rule: what can be said there is said, wherever it must stand to be understood; what cannot is refused by its path.

    user: tool_result*, text*, image*   ->   tool message for each result, then one user message
    assistant: text*, tool_use*         ->   one assistant message; thinking is the provider's own and stays away
    system inside of messages           ->   the system text when it leads, else the user's, marked `[system]`

What one side says in a row is merged, as the real API does: many chat templates insist that the sides alternate.
"""

from typing import Any, Final

import msgspec

from faregate.core.errors import Unsupported

BILLING_HEADER: Final = "x-anthropic-billing-header"
"""Claude Code's first system text begins so. It is meant for Anthropic alone and changes with each prompt: passed on,
it would spoil every prefix that the peer has cached."""

Blocks = list[tuple[str, dict[str, Any]]]
"""Blocks of one message, each with its path."""
Part = str | dict[str, Any]
"""A text, or an `image_url` part."""

_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})


def conversation(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a request that admission has passed. Raises Unsupported."""
    system = [_read(document.get("system") or "", "system")]
    sides: list[tuple[str, list[Blocks]]] = []
    for index, message in enumerate(document["messages"]):
        role, path = message["role"], f"messages.{index}.content"
        blocks = [(place, block) for place, block in _read(message["content"], path) if not _says_nothing(block)]
        if not blocks:
            continue
        if role == "system" and not sides:
            system.append(blocks)
            continue
        if role == "system":
            # In the midst of a conversation few templates know a system turn; a user's turn can carry it.
            role, blocks = "user", [(path, {"type": "text", "text": f"[system] {_text(blocks)}"})]
        if sides and sides[-1][0] == role:
            sides[-1][1].append(blocks)
        else:
            sides.append((role, [blocks]))
    said = "\n\n".join(filter(None, map(_text, system)))
    messages = [{"role": "system", "content": said}] if said else []
    for role, turns in sides:
        if role == "assistant":
            messages.append(_assistant(turns))
        else:
            messages += _user([block for turn in turns for block in turn])
    # A conversation of nothing but thoughts or a system text still asks for an answer.
    return messages if any(message["role"] != "system" for message in messages) else [*messages, _EMPTY]


_EMPTY: Final = {"role": "user", "content": ""}


def _read(content: str | list[dict[str, Any]], path: str) -> Blocks:
    if isinstance(content, str):
        return [(path, {"type": "text", "text": content})]
    return [(f"{path}.{index}", block) for index, block in enumerate(content)]


def _says_nothing(block: dict[str, Any]) -> bool:
    """A thought, which is the provider's own, or an empty text."""
    return block.get("type") in _THOUGHTS or (block.get("type") == "text" and not block["text"])


def _user(blocks: Blocks) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    parts: list[Part] = []
    for path, block in blocks:
        if block.get("type") == "tool_result":
            # Only a user can show images to every peer: they stand behind the results, which say where they belong.
            message, images = _result(block, path)
            results.append(message)
            parts += images
    for path, block in blocks:
        if block.get("type") != "tool_result":
            parts += _parts(block, path)
    return [*results, {"role": "user", "content": _content(parts)}] if parts else results


def _result(block: dict[str, Any], path: str) -> tuple[dict[str, Any], list[Part]]:
    """A tool message, and the images that it cannot hold."""
    content = _read(block.get("content") or "", f"{path}.content")
    parts = [part for inner_path, inner in content for part in _parts(inner, inner_path)]
    texts = [part for part in parts if isinstance(part, str)]
    images = [part for part in parts if not isinstance(part, str)]
    if images:
        texts.append(f"[{len(images)} image{'s' if len(images) > 1 else ''} below]")
    if block.get("is_error"):
        texts.insert(0, "[error]")
    message = {"role": "tool", "tool_call_id": block["tool_use_id"], "content": "\n\n".join(filter(None, texts))}
    return message, [f"[of the result of {block['tool_use_id']}]", *images] if images else []


def _assistant(turns: list[Blocks]) -> dict[str, Any]:
    """One message of what was said and called."""
    texts, calls = [], []
    for turn in turns:
        said = ""
        for path, block in turn:
            match block.get("type"):
                case "tool_use":
                    function = {"name": block["name"], "arguments": msgspec.json.encode(block["input"]).decode()}
                    calls.append({"id": block["id"], "type": "function", "function": function})
                case "text":
                    said += block["text"]  # A text with citations comes in pieces, cut within its sentences.
                case kind:
                    raise _untranslatable(path, kind)
        texts.append(said)
    message: dict[str, Any] = {"role": "assistant", "content": "\n\n".join(filter(None, texts)) or None}
    return {**message, "tool_calls": calls} if calls else message


def _parts(block: dict[str, Any], path: str) -> list[Part]:
    """A block of a user's, or of a tool's result."""
    match block.get("type"):
        case "text":
            return [block["text"]]
        case "image":
            return [{"type": "image_url", "image_url": {"url": _image_url(block["source"], f"{path}.source")}}]
        case "search_result":
            _check_citations(block, path)
            inner = _text(_read(block["content"], f"{path}.content"))
            return [f"[{block['title']}, {block['source']}]\n{inner}"]
        case "document":
            return _document(block, path)
        case kind:
            raise _untranslatable(path, kind)


def _document(block: dict[str, Any], path: str) -> list[Part]:
    source = block["source"]
    head: list[Part] = [f"[{block[name]}]" for name in ("title", "context") if block.get(name)]
    _check_citations(block, path)
    match source.get("type"):
        case "text":
            return [*head, source["data"]]
        case "content":
            inner = _read(source["content"], f"{path}.source.content")
            return [*head, *(part for place, each in inner for part in _parts(each, place))]
        case kind:
            raise Unsupported(
                f"{path}.source.type: documents of type {str(kind)[:64]!r} cannot be sent to this model's upstream, "
                "which reads text and images; send the text itself"
            )


def _check_citations(block: dict[str, Any], path: str) -> None:
    citations = block.get("citations")  # Not judged at the door: a block's unknown insides are upstream's.
    if isinstance(citations, dict) and citations.get("enabled"):
        raise Unsupported(f"{path}.citations: this model's upstream cannot cite; leave them out")


def _image_url(source: dict[str, Any], path: str) -> str:
    match source.get("type"):
        case "base64":
            return f"data:{source['media_type']};base64,{source['data']}"
        case "url":
            return str(source["url"])
        case kind:
            raise Unsupported(
                f"{path}.type: images of type {str(kind)[:64]!r} are not at this model's upstream; use base64 or url"
            )


def _content(parts: list[Part]) -> str | list[dict[str, Any]]:
    """A plain string where there is only text: every template takes that."""
    if all(isinstance(part, str) for part in parts):
        return "\n\n".join(part for part in parts if isinstance(part, str))
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts if part]


def _text(blocks: Blocks) -> str:
    """The text of blocks that are nothing else."""
    texts = []
    for path, block in blocks:
        if block.get("type") != "text":
            raise _untranslatable(path, block.get("type"))
        if not block["text"].startswith(BILLING_HEADER):
            texts.append(block["text"])
    return "\n\n".join(filter(None, texts))


def _untranslatable(path: str, kind: object) -> Unsupported:
    return Unsupported(f"{path}.type: {str(kind)[:64]!r} blocks cannot be sent to this model's upstream")
