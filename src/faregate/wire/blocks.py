"""Content: what messages and the system prompt are made of, judged block by block, and tallied as it passes.

The rule: a block is judged by its type, and only in what the gateway or the wire format must rely on; fields it does
not know are left as they are. One walk does all: it raises Malformed at the first fault, and what it counts in Tally
is all that the quote needs to know of the content.

    messages ── str | block*          system ── str | text*
    tool_result.content, search_result.content, document.source.content ── a smaller set of blocks, never deeper
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from faregate.wire.shape import Malformed, at, boolean, one_of, required, string, table, text
from faregate.wire.source import document_source, image_source
from faregate.wire.tally import Tally
from faregate.wire.tools import inline

MESSAGES_MAX: Final = 100_000
"""The Messages API's own limit."""

ROLES: Final = ("user", "assistant", "system")

Check = Callable[[dict[str, Any], Tally], None]


def messages(value: object, tally: Tally) -> None:
    """Judge the conversation."""
    if type(value) is not list:
        raise Malformed("Input should be a valid array")
    if not value:
        raise Malformed("at least one message is required")
    if len(value) > MESSAGES_MAX:
        raise Malformed(f"List should have at most {MESSAGES_MAX} items after validation, not {len(value)}")
    tally.messages = len(value)
    index = 0
    try:
        for index, message in enumerate(value):
            _message(message, index, tally)
    except Malformed as error:
        error.under(index)
        raise


def _message(message: object, index: int, tally: Tally) -> None:
    if type(message) is not dict:
        raise Malformed("Input should be an object")
    role: Any = message.get("role")
    if role not in ROLES:
        required(message, "role")
        one_of(role, ROLES, "role")
    if role == "system" and "output_config" in message:
        tally.configured.append(index)
        if "content" not in message and message["output_config"]:
            return  # From here on it only changes how answers are made.
    content = message.get("content")
    if type(content) is str:
        return
    if type(content) is not list:
        raise Malformed(
            "Input should be a string or an array of blocks" if "content" in message else "Field required", "content"
        )
    tally.role = role
    try:
        blocks(content, tally, _SYSTEM if role == "system" else _MESSAGE)
    except Malformed as error:
        error.under("content")
        raise


def system(value: object, tally: Tally) -> None:
    """Judge the system prompt."""
    if type(value) is str:
        return
    if type(value) is not list:
        raise Malformed("Input should be a string or an array of text blocks")
    tally.role = "system"
    blocks(value, tally, _TEXT)


def blocks(value: list[Any], tally: Tally, kinds: Mapping[str, Check]) -> None:
    """Judge an array of blocks, of which `kinds` may stand here."""
    index = 0
    try:
        for index, block in enumerate(value):  # noqa: B007 - the index is for the path of a fault
            if type(block) is not dict:
                raise Malformed("Input should be an object")
            kind = block.get("type")
            check = kinds.get(kind) if type(kind) is str else None
            if check is None:
                _stranger(block, kind, tally, kinds)
            else:
                check(block, tally)
            if "cache_control" in block:
                with at("cache_control"):
                    tally.mark(block["cache_control"])
    except Malformed as error:
        error.under(index)
        raise


def _stranger(block: dict[str, Any], kind: object, tally: Tally, kinds: Mapping[str, Check]) -> None:
    """A type that does not stand here: refused, unless a beta may have brought it."""
    if type(kind) is not str:
        required(block, "type")
        raise Malformed("Input should be a valid string", "type")
    if not tally.beta or kind in _MESSAGE:
        raise Malformed(f"{kind[:64]!r} is not a block type here: {', '.join(kinds)}", "type")
    tally.unbounded = True
    tally.files |= "file_id" in block
    _within(block, tally)


def _text(block: dict[str, Any], tally: Tally) -> None:
    if type(block.get("text")) is not str:
        text(block, "text")
    if tally.strict and tally.role == "user" and block.get("citations"):
        # The 2026-10-21 version took these away: a citation is what the model says, not what it is told.
        raise Malformed("`citations` are not allowed in text blocks of `user` messages", "citations")


def _image(block: dict[str, Any], tally: Tally) -> None:
    source = table(block, "source")
    with at("source"):
        tally.media_bytes += image_source(source)
    tally.images += 1
    tally.files |= source["type"] == "file"


def _document(block: dict[str, Any], tally: Tally) -> None:
    if tally.strict and tally.role == "assistant":
        raise Malformed("`document` blocks are not allowed in `assistant` messages", "type")
    source = table(block, "source")
    with at("source"):
        if source.get("type") == "content":
            _inner(source, tally, _QUOTED)
            return
        media_bytes, elsewhere = document_source(source)
    tally.media_bytes += media_bytes
    tally.documents += bool(media_bytes or elsewhere)
    tally.files |= source["type"] == "file"
    tally.unbounded |= elsewhere


def _search_result(block: dict[str, Any], tally: Tally) -> None:
    text(block, "source")
    text(block, "title")
    if type(required(block, "content")) is not list:
        raise Malformed("Input should be a valid array", "content")
    _inner(block, tally, _TEXT)


def _thinking(block: dict[str, Any], _: Tally) -> None:
    text(block, "thinking")
    text(block, "signature")


def _redacted_thinking(block: dict[str, Any], _: Tally) -> None:
    text(block, "data")


def _tool_use(block: dict[str, Any], _: Tally) -> None:
    text(block, "id")
    text(block, "name")
    table(block, "input")


def _tool_result(block: dict[str, Any], tally: Tally) -> None:
    text(block, "tool_use_id")
    if "is_error" in block:
        with at("is_error"):
            boolean(block["is_error"])
    if "content" in block:
        _inner(block, tally, _RESULT)


def _inner(holder: dict[str, Any], tally: Tally, kinds: Mapping[str, Check]) -> None:
    """Judge content inside a block: a string or an array of a few kinds."""
    content = required(holder, "content")
    with at("content"):
        if type(content) is list:
            blocks(content, tally, kinds)
        else:
            string(content)


def _tool_reference(block: dict[str, Any], _: Tally) -> None:
    text(block, "tool_name")


def _container_upload(block: dict[str, Any], tally: Tally) -> None:
    text(block, "file_id")
    tally.unbounded = tally.files = True


def _within(block: dict[str, Any], tally: Tally) -> None:
    """Look for what costs money anywhere inside a block whose insides are upstream's to judge.

    A cache mark that was missed would be billed dearer than it was held, media that was missed could be more tokens
    than it has bytes, and a tool that was missed could be one that the provider runs, and bills.
    """
    rest: list[Any] = [value for name, value in block.items() if name != "cache_control"]
    while rest:
        value = rest.pop()
        if type(value) is dict:
            mark = value.get("cache_control")
            if type(mark) is dict and mark.get("type") == "ephemeral":
                tally.mark(mark)
            if "source" in value and value.get("type") in ("image", "document"):
                tally.unbounded = True
            if value.get("type") == "tool_definition":
                inline(value.get("definition"), tally)
            if "file_id" in value and value.get("type") in ("file", "container_upload"):
                tally.files = True
            rest.extend(value.values())
        elif type(value) is list:
            rest.extend(value)


_TEXT: Final[Mapping[str, Check]] = {"text": _text}
_QUOTED: Final[Mapping[str, Check]] = {"text": _text, "image": _image}
_SYSTEM: Final[Mapping[str, Check]] = {"text": _text, "tool_addition": _within, "tool_removal": _within}
_RESULT: Final[Mapping[str, Check]] = {
    "text": _text,
    "image": _image,
    "search_result": _search_result,
    "document": _document,
    "tool_reference": _tool_reference,
    "browser_state": _within,
}
_MESSAGE: Final[Mapping[str, Check]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted_thinking,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "container_upload": _container_upload,
    # The provider's own tools and betas: what they did is in the body, and its insides are upstream's to judge.
    **dict.fromkeys(
        (
            "server_tool_use",
            "web_search_tool_result",
            "web_fetch_tool_result",
            "code_execution_tool_result",
            "bash_code_execution_tool_result",
            "text_editor_code_execution_tool_result",
            "tool_search_tool_result",
            "advisor_tool_result",
            "mcp_tool_use",
            "mcp_tool_result",
            "mcp_tool_listing",
            "compaction",
            "fallback",
        ),
        _within,
    ),
}
