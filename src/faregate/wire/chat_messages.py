"""The conversation of a Chat Completions request, written for the Messages API.

The rule: nothing that was said is lost or changes its order, but for what the Messages API wants in front: what system
and developer messages say becomes the system prompt, and the results of tools begin the user's turn that they stand in.

    system, developer ── system          user ── user          assistant ── assistant (its calls: tool_use)
    tool, tool, user  ── one user turn: tool_result, tool_result, what the user said
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from faregate.wire.request import decode
from faregate.wire.shape import Malformed, at, one_of, required, table, text

ROLES: Final = ("system", "developer", "user", "assistant", "tool")

_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What the Messages API does not take in the id of a call; those that other models were given have it."""

Block = dict[str, Any]
Content = str | list[Block]


def conversation(value: object) -> tuple[Content, list[dict[str, Any]], list[int]]:
    """The system prompt, the messages, and for each of these the place of the one it begins with. Raises Malformed."""
    if type(value) is not list:
        raise Malformed("Input should be a valid array")
    written = _Conversation()
    for index, message in enumerate(value):
        with at(index):
            written.add(index, message)
    written.turn()
    if not written.messages and (alone := written.prompt()):
        # OpenAI answers instructions that stand alone; the Messages API answers messages.
        return "", [{"role": "user", "content": alone}], [0]
    return written.prompt(), written.messages, written.origins


class _Conversation:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.origins: list[int] = []
        self._system: list[Content] = []
        self._said: list[tuple[int, Content]] = []
        """By users, since the model last spoke."""
        self._results: list[Block] = []
        """Of tools, since then."""

    def add(self, index: int, message: object) -> None:
        """The next message."""
        if type(message) is not dict:
            raise Malformed("Input should be an object")
        required(message, "role")
        one_of(message["role"], ROLES, "role")
        match message["role"]:
            case "user":
                self._said.append((index, _content(message, _OF_A_USER)))
            case "tool":
                result: Block = {"type": "tool_result", "tool_use_id": _id(message, "tool_call_id")}
                result["content"] = _content({"content": message.get("content")}, _OF_A_TOOL)
                self._results.append(_marked(message, result))
                self._said.append((index, ""))
            case "assistant":
                self.turn()
                if (content := _spoken(message)) != "":
                    self._append(index, "assistant", content)
            case _:
                self._system.append(_content(message, _TEXT))

    def turn(self) -> None:
        """What users said is whole: the model speaks next."""
        spoken = [(index, content) for index, content in self._said if type(content) is not str or content.strip()]
        if self._results:
            others = [block for _, content in spoken for block in _blocks(content)]
            self._append(self._said[0][0], "user", [*self._results, *others])
        else:
            for index, content in spoken or self._said:
                self._append(index, "user", content)
        self._said, self._results = [], []

    def prompt(self) -> Content:
        """The system prompt; "" for none."""
        if len(self._system) == 1:
            return self._system[0]
        return [block for content in self._system for block in _blocks(content)]

    def _append(self, index: int, role: str, content: Content) -> None:
        self.messages.append({"role": role, "content": content})
        self.origins.append(index)


def _spoken(message: dict[str, Any]) -> Content:
    """What the model said and called; "" when that was nothing, which no turn may be."""
    for name, instead in (("function_call", "tool_calls"), ("audio", "content")):
        if message.get(name) is not None:
            raise Malformed(f"Not supported here: send what the model said as `{instead}`", name)
    said = _content(message, _OF_A_MODEL) if message.get("content") is not None else ""
    blocks = [block for block in _blocks(said) if block["text"].strip()]
    if message.get("refusal") is not None and text(message, "refusal").strip():
        blocks.append({"type": "text", "text": message["refusal"]})
    calls = message.get("tool_calls")
    with at("tool_calls"):
        if calls is not None and type(calls) is not list:
            raise Malformed("Input should be a valid array")
        for index, call in enumerate(calls or ()):
            with at(index):
                blocks.append(_call(call))
    if not blocks:
        return ""
    return said if type(said) is str and blocks == [{"type": "text", "text": said}] else blocks


def _call(call: object) -> Block:
    if type(call) is not dict:
        raise Malformed("Input should be an object")
    one_of(call.get("type", "function"), ("function",), "type")
    function = table(call, "function")
    with at("function"):
        name, arguments = text(function, "name"), text(function, "arguments")
        with at("arguments"):
            try:
                given = decode(arguments.encode()) if arguments.strip() else {}
            except Malformed:
                raise Malformed("Input should be a JSON object, written as a string") from None
    return {"type": "tool_use", "id": _id(call, "id"), "name": name, "input": given}


def _id(holder: dict[str, Any], name: str) -> str:
    """Of a call: the same wherever it stands."""
    return _NOT_IN_IDS.sub("_", text(holder, name))


Part = Callable[[dict[str, Any]], Block]


def _content(message: dict[str, Any], kinds: Mapping[str, Part]) -> Content:
    """What a message says: a string as it is, parts as blocks. A text of nothing, which the Messages API does not take
    and OpenAI's clients send beside images, is none."""
    content = required(message, "content")
    mark = message.get("cache_control")
    if type(content) is str and mark is None:
        return content
    with at("content"):
        if type(content) is str:
            return [{"type": "text", "text": content, "cache_control": mark}]
        if type(content) is not list:
            raise Malformed("Input should be a string or an array of parts")
        blocks = []
        for index, part in enumerate(content):
            with at(index):
                blocks.append(_block(part, kinds))
    blocks = [block for block in blocks if block["type"] != "text" or block["text"].strip()]
    if blocks and mark is not None:
        blocks[-1] = {**blocks[-1], "cache_control": mark}
    return blocks or ""


def _block(part: object, kinds: Mapping[str, Part]) -> Block:
    if type(part) is not dict:
        raise Malformed("Input should be an object")
    kind = text(part, "type")
    if kind not in kinds:
        raise Malformed(f"{kind[:64]!r} is not a type of part here: {', '.join(kinds)}", "type")
    return _marked(part, kinds[kind](part))


def _blocks(content: Content) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def _marked(holder: dict[str, Any], block: Block) -> Block:
    mark = holder.get("cache_control")
    return block if mark is None else {**block, "cache_control": mark}


def _text(part: dict[str, Any]) -> Block:
    return {"type": "text", "text": text(part, "text")}


def _refusal(part: dict[str, Any]) -> Block:
    return {"type": "text", "text": text(part, "refusal")}


def _image(part: dict[str, Any]) -> Block:
    holder = {"url": part["image_url"]} if type(part.get("image_url")) is str else table(part, "image_url")
    with at("image_url"):
        url = text(holder, "url")
        with at("url"):
            if url[:5].lower() == "data:":
                return {"type": "image", "source": _inline(url)}
            if not url[:8].lower().startswith(("http://", "https://")):
                raise Malformed("Input should be an https: or a data: URL")
    return {"type": "image", "source": {"type": "url", "url": url}}


def _file(part: dict[str, Any]) -> Block:
    file = table(part, "file")
    with at("file"):
        if file.get("file_data") is None and file.get("file_id") is not None:
            raise Malformed("Not supported here: no files are kept, send it whole as `file_data`", "file_id")
        inline = text(file, "file_data")
        with at("file_data"):
            source = _inline(inline if inline[:5].lower() == "data:" else f"data:application/pdf;base64,{inline}")
        block: Block = {"type": "document", "source": source}
        if file.get("filename") is not None:
            block["title"] = text(file, "filename")
    return block


def _inline(url: str) -> Block:
    """The source that a data: URL is."""
    head, comma, data = url.partition(",")
    media_type, *more = head[len("data:") :].lower().split(";")
    if not comma or more[-1:] != ["base64"]:
        raise Malformed("Input should be a data: URL with a media type, in base64: data:image/png;base64,...")
    if media_type == "image/jpg":  # As many call it, and no registry.
        media_type = "image/jpeg"
    return {"type": "base64", "media_type": media_type, "data": data}


_TEXT: Final[Mapping[str, Part]] = {"text": _text}
_OF_A_USER: Final[Mapping[str, Part]] = {"text": _text, "image_url": _image, "file": _file}
_OF_A_TOOL: Final = _OF_A_USER
_OF_A_MODEL: Final[Mapping[str, Part]] = {"text": _text, "refusal": _refusal}
