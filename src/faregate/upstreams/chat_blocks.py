"""The blocks of an answer, put one after the other, however a peer interleaves their pieces.

One rule: a block is closed before the next one opens, and never opened again. Chat Completions may send the arguments
of parallel tool calls in turns; what belongs to a later block waits until the one before it is whole.

    text(), thought(), call()  ──>  lanes, in the order in which they began  ──>  events, as far as they may go out
    finish()                   ──>  what is left; a tool's input that is not JSON is a Fault
    content()                  ──>  the same blocks, for a plain answer

A text of nothing but space is none: Anthropic sends no such block, and takes none back.
"""

import re
from typing import Any, Final, Literal

import msgspec

from faregate.upstreams.port import Fault, FaultKind
from faregate.wire import sse

LANES_MAX: Final = 1_024
"""Blocks of one answer; a peer that begins one with each piece is broken."""

HELD_BYTES_MAX: Final = 256 * 1024 * 1024
"""What is kept of one answer, with PIECE_BYTES for each piece: many times what a model can say."""
PIECE_BYTES: Final = 64

_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What Anthropic takes in the id of a tool call: one that goes back to it must be good there."""

EventName = Literal["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                    "message_delta", "message_stop", "error"]  # fmt: skip


def event(name: EventName, **fields: Any) -> bytes:
    """Write an event as Anthropic does."""
    return sse.render(name.encode(), msgspec.json.encode({"type": name, **fields}))


class Lane:
    """One block and what has come of it."""

    __slots__ = ("closed", "id", "judged", "kind", "name", "opened", "pieces", "words", "written")

    def __init__(self, kind: Literal["text", "thinking", "tool_use"], call_id: str = "") -> None:
        self.kind = kind
        self.id = call_id
        """Of a tool call: the peer's own id, "" until it has come."""
        self.name = ""
        self.pieces: list[str] = []
        self.written = 0
        """Pieces that have gone out."""
        self.words = False
        """Whether more than space has come."""
        self.judged = 0
        """Of a tool call: pieces that were seen not to be all of its input."""
        self.opened = False
        self.closed = False

    @property
    def whole(self) -> str:
        return "".join(self.pieces)

    def ready(self) -> bool:
        """Whether it may be opened: a tool has its name, a text has words."""
        return bool(self.name) if self.kind == "tool_use" else self.words

    def closable(self) -> bool:
        """Whether another block may follow."""
        if self.kind != "tool_use":
            return True
        return bool(self.name) and self.has_input()

    def has_input(self) -> bool:
        """Of a tool call: whether its input is a whole object. It is judged once a piece, since it may be long."""
        if self.judged == len(self.pieces) or not self.pieces[-1].rstrip().endswith("}"):
            return False
        if arguments(self.whole) is not None:
            return True
        self.judged = len(self.pieces)
        return False


class Blocks:
    """Those of one answer. `minted` is what ids begin with where the peer gives none that can be used."""

    def __init__(self, minted: str) -> None:
        self.bytes = 0
        """What has come, in UTF-8."""
        self.called = False
        """Whether a tool is called."""
        self._held = 0
        """Bytes that are kept."""
        self._minted = minted
        self._lanes: list[Lane] = []
        self._at = 0
        """The lane that is being written."""
        self._index = 0
        """The block that it is, or will be."""
        self._calls: dict[int, Lane] = {}
        self._last_call = -1
        self._ids: dict[int, str] = {}
        """Ids as they are told, by lane."""

    def text(self, piece: str) -> bytes:
        return self._words("text", piece)

    def thought(self, piece: str) -> bytes:
        return self._words("thinking", piece)

    def call(self, index: int | None, call_id: str, name: str, piece: str) -> bytes:
        """A piece of a tool call; some peers give no index, some the same one to each, and some of these no id."""
        if index is None:
            index = self._last_call + 1 if call_id and not self._knows(call_id) else max(0, self._last_call)
        lane = self._calls.get(index)
        if lane is None or (name and _begins_another(lane, call_id, name, piece)):
            lane = self._calls[index] = self._begin(Lane("tool_use", call_id))
            self.called = True
        self._last_call = index
        self._hold(len(call_id) + len(name))
        lane.id = lane.id or call_id
        lane.name = lane.name or name
        # Some write the input of a tool that takes none as a null.
        return self._take(lane, "" if piece == "null" and not lane.pieces else piece)

    def finish(self, *, cut: bool) -> bytes:
        """Everything that is left. `cut`: the answer ended at a limit, so its last input may not be whole."""
        out = []
        while self._at < len(self._lanes):
            lane = self._lanes[self._at]
            if lane.kind == "tool_use" and not cut:
                if not lane.name:
                    raise Fault(FaultKind.PROTOCOL, "the peer called a tool without a name")
                if arguments(lane.whole) is None:
                    raise Fault(FaultKind.PROTOCOL, "the peer called a tool, and its arguments are not a JSON object")
            out.append(self._write(lane) + self._close(lane))
        return b"".join(out)

    def content(self) -> list[dict[str, Any]]:
        """The blocks whole, once finished."""
        blocks: list[dict[str, Any]] = []
        for place, lane in enumerate(self._lanes):
            if not lane.opened:
                continue
            match lane.kind:
                case "text":
                    blocks.append({"type": "text", "text": lane.whole})
                case "thinking":
                    blocks.append({"type": "thinking", "thinking": lane.whole, "signature": ""})
                case "tool_use":
                    head = {"type": "tool_use", "id": self._ids[place], "name": lane.name}
                    # What was cut off by a limit is not JSON, and then there is none.
                    blocks.append({**head, "input": arguments(lane.whole) or {}})
        return blocks

    def _words(self, kind: Literal["text", "thinking"], piece: str) -> bytes:
        if not piece:
            return b""
        lane = self._lanes[-1] if self._lanes else None
        if lane is None or lane.kind != kind:
            lane = self._begin(Lane(kind))
        return self._take(lane, piece)

    def _begin(self, lane: Lane) -> Lane:
        if len(self._lanes) >= LANES_MAX:
            raise Fault(FaultKind.PROTOCOL, f"the peer's answer has more than {LANES_MAX} blocks")
        self._lanes.append(lane)
        return lane

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > HELD_BYTES_MAX:
            raise Fault(FaultKind.PROTOCOL, f"the peer's answer is more than {HELD_BYTES_MAX} bytes")

    def _take(self, lane: Lane, piece: str) -> bytes:
        size = len(piece.encode())
        self.bytes += size
        if piece:
            self._hold(size + PIECE_BYTES)
            if lane.closed and piece.isspace():
                return b""
            if lane.closed:
                raise Fault(FaultKind.PROTOCOL, "the peer went on with a tool call that was whole")
            lane.pieces.append(piece)
            lane.words = lane.words or not piece.isspace()
        return self._advance()

    def _advance(self) -> bytes:
        """Write what may be written: the lane that is open, and those behind it as far as each is whole."""
        out = b""
        while True:
            lane = self._lanes[self._at]
            out += self._write(lane)
            if self._at == len(self._lanes) - 1 or not lane.closable():
                return out
            out += self._close(lane)

    def _write(self, lane: Lane) -> bytes:
        if not lane.opened and not lane.ready():
            return b""
        out = b"" if lane.opened else self._open(lane)
        piece = "".join(lane.pieces[lane.written :])
        lane.written = len(lane.pieces)
        return out + event("content_block_delta", index=self._index, delta=_delta(lane.kind, piece)) if piece else out

    def _open(self, lane: Lane) -> bytes:
        lane.opened = True
        block: dict[str, Any]
        match lane.kind:
            case "text":
                block = {"type": "text", "text": ""}
            case "thinking":
                block = {"type": "thinking", "thinking": "", "signature": ""}
            case "tool_use":
                block = {"type": "tool_use", "id": self._told_id(lane), "name": lane.name, "input": {}}
        return event("content_block_start", index=self._index, content_block=block)

    def _close(self, lane: Lane) -> bytes:
        self._at += 1
        lane.closed = True
        if not lane.opened:
            return b""
        self._index += 1
        return event("content_block_stop", index=self._index - 1)

    def _told_id(self, lane: Lane) -> str:
        told = _NOT_IN_IDS.sub("_", lane.id)
        if not told or told in self._ids.values():
            told = f"{self._minted}_{self._at}"
        self._ids[self._at] = told
        return told

    def _knows(self, call_id: str) -> bool:
        return any(lane.id == call_id for lane in self._calls.values())


def _begins_another(lane: Lane, call_id: str, name: str, piece: str) -> bool:
    """Whether what comes under the number of a call is the next one: by its id, or, where none is told, because the
    input of the one before is whole and this begins again, or is of another tool."""
    if call_id and lane.id:
        return call_id != lane.id
    again = piece.lstrip().startswith("{") or name != lane.name
    return bool(lane.name) and again and lane.has_input()


def arguments(text: str) -> dict[str, Any] | None:
    """A tool's input; nothing at all is an empty one. None where it is not a JSON object."""
    if not text.strip():
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _delta(kind: str, piece: str) -> dict[str, str]:
    match kind:
        case "text":
            return {"type": "text_delta", "text": piece}
        case "thinking":
            return {"type": "thinking_delta", "thinking": piece}
        case _:
            return {"type": "input_json_delta", "partial_json": piece}
