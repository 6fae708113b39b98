"""What a scripted upstream plays: one answer, byte for byte, and how it ends.

One rule: a play is data. Whatever goes wrong in it was written into it, so the same script gives the same bytes.

    Play(status, headers, frames, gap_ms, ending, ending_after)
    plain(message)   stream(message)   failure(529, "overloaded_error", "Overloaded", retry_after="3")
    msgspec.structs.replace(stream(message), ending=End.RESET, ending_after=4)

A script is a list of plays, one for each request in turn, or a function from the request to its play; None in either
means the ordinary answer (`mimic`), and so does the end of the list.
"""

import enum
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import msgspec


class End(enum.StrEnum):
    """How an answer ends, once `ending_after` frames of it have been written."""

    CLEAN = "clean"
    """As its framing wants it; the connection stays open for the next request."""
    CUT = "cut"
    """The connection is closed in an orderly way, in the middle of the answer."""
    RESET = "rst"
    """The connection is reset (TCP RST)."""
    STALL = "stall"
    """Nothing more is written; the connection stays open until the other side leaves."""
    GARBAGE = "garbage"
    """Bytes that no framing allows, then an orderly close. With no frame written they stand in place of the head."""
    HALF_CHUNK = "half_chunk"
    """A chunk is announced, half of it is sent, and the connection is closed."""
    REFUSE = "refuse"
    """The connection is closed before any byte of an answer."""


GARBAGE = b"\x00\x01 this is not HTTP \r\n\r\n"


class Play(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One answer."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    """Beside content-type and framing."""
    content_type: str = "application/json"
    frames: tuple[bytes, ...] = ()
    """The body, in the pieces in which it is written."""
    framing: Literal["length", "chunked", "close"] = "length"
    head_delay_ms: float = 0
    """Before the head."""
    gap_ms: float = 0
    """Before each frame but the first."""
    ending: End = End.CLEAN
    ending_after: int | None = None
    """Frames written before the ending; None for all."""
    cut_at: int | None = None
    """Instead, for CUT: bytes of the body written before it."""
    raw: bytes | None = None
    """Instead of everything: these very bytes, then the ending (CLEAN keeps the connection open)."""
    keep_alive: bool = True
    """When false, `connection: close` is sent and kept."""

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """What is written, one after another: the head with the first frame, then each frame as its framing has it."""
        if self.raw is not None:
            return (self.raw,)
        frames = self.frames
        if self.cut_at is not None:
            frames = (b"".join(frames)[: self.cut_at],)
        elif self.ending_after is not None:
            frames = frames[: self.ending_after]
        written = [self._framed(frame) for frame in frames]
        if self.ending is End.REFUSE or (self.ending is End.GARBAGE and not written):
            return ()
        pieces = [self._head() + written[0], *written[1:]] if written else [self._head()]
        return (*pieces[:-1], pieces[-1] + self._tail())

    @cached_property
    def whole(self) -> bytes:
        return b"".join(self.pieces)

    def _framed(self, frame: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(frame), frame) if self.framing == "chunked" and frame else frame

    def _tail(self) -> bytes:
        if self.ending is End.GARBAGE:
            return GARBAGE
        if self.ending is End.HALF_CHUNK:
            return b"400\r\n" + b"x" * 0x200
        return b"0\r\n\r\n" if self.ending is End.CLEAN and self.framing == "chunked" else b""

    def _head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}", f"content-type: {self.content_type}"]
        if self.framing == "chunked":
            lines.append("transfer-encoding: chunked")
        elif self.framing == "length":
            lines.append(f"content-length: {sum(map(len, self.frames))}")
        if self.framing == "close" or not self.keep_alive:
            lines.append("connection: close")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}

Script = Callable[["Seen"], Play | None] | Sequence[Play | None]


class Seen:
    """One request as the upstream saw it, and what became of its answer."""

    __slots__ = (
        "_document", "at", "body", "bytes_written", "ended_at", "frames_written", "headers", "hung_up", "index",
        "method", "path",
    )  # fmt: skip

    def __init__(self, *, index: int, method: str, path: str, headers: dict[str, str], body: bytes, at: float) -> None:
        self.index = index
        """Counted from 0 over the server's life."""
        self.method = method
        self.path = path
        """As it came, query and all."""
        self.headers = headers
        """Names in lower case."""
        self.body = body
        self.at = at
        """The event loop's clock when the request was whole."""
        self.ended_at: float | None = None
        """When the play was over, or the other side had left."""
        self.frames_written = 0
        """Pieces of the play that went to the socket; the head goes with the first frame."""
        self.bytes_written = 0
        """Handed to the socket; less than the play has while the reader stalls."""
        self.hung_up = False
        """Whether the other side left before the play was over."""
        self._document: dict[str, Any] | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON; empty where it is none."""
        if self._document is None:
            try:
                self._document = msgspec.json.decode(self.body, type=dict[str, Any])
            except msgspec.MsgspecError:
                self._document = {}
        return self._document


def plain(message: dict[str, Any], **more: Any) -> Play:
    """A message (or any JSON object) as a plain answer."""
    return Play(frames=(msgspec.json.encode(message),), **more)


def stream(message: dict[str, Any], *, deltas: int = 8, **more: Any) -> Play:
    """The same message as a stream, each text in about so many deltas."""
    return events(frames_of(message, deltas), **more)


def events(frames: Iterable[bytes], **more: Any) -> Play:
    """Frames as they are, as a stream: leave some out, add some, write nonsense into them."""
    return Play(frames=tuple(frames), content_type="text/event-stream; charset=utf-8", framing="chunked", **more)


def failure(status: int, kind: str, message: str, *, retry_after: str | None = None, **more: Any) -> Play:
    """An error answer in Anthropic's envelope."""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"}
    headers = (("request-id", "req_scripted"), *((("retry-after", retry_after),) if retry_after is not None else ()))
    return plain(body, status=status, headers=headers, **more)


def frame(kind: str, **fields: Any) -> bytes:
    """One event: `event: kind`, and `data:` with the same type in it."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **fields}))


def error_frame(kind: str = "overloaded_error", message: str = "Overloaded") -> bytes:
    """The event that ends a stream badly."""
    return frame("error", error={"type": kind, "message": message})


def frames_of(message: dict[str, Any], deltas: int = 8) -> list[bytes]:
    """Every frame of a message's stream, in order, with a ping after the first block's start as Anthropic sends it.

    `usage` is given verbatim: in message_start with output_tokens 1 (a placeholder, as Anthropic's), whole at the end.
    """
    usage = message.get("usage", {})
    early = {**usage, "output_tokens": min(1, usage["output_tokens"])} if "output_tokens" in usage else usage
    late = {name: value for name, value in usage.items() if name not in ("cache_creation", "service_tier")}
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": early}
    frames = [frame("message_start", message=start)]
    for index, block in enumerate(message["content"]):
        opened, pieces = _open_block(block, deltas)
        frames.append(frame("content_block_start", index=index, content_block=opened))
        if index == 0:
            frames.append(frame("ping"))
        frames += [frame("content_block_delta", index=index, delta=piece) for piece in pieces]
        frames.append(frame("content_block_stop", index=index))
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": message.get("stop_sequence")}
    return [*frames, frame("message_delta", delta=stop, usage=late), frame("message_stop")]


def _open_block(block: dict[str, Any], deltas: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block["type"]:
        case "text":
            pieces = [{"type": "text_delta", "text": part} for part in _parts(block["text"], deltas)]
            return {**block, "text": ""}, pieces
        case "thinking":
            pieces = [{"type": "thinking_delta", "thinking": part} for part in _parts(block["thinking"], deltas)]
            signature = {"type": "signature_delta", "signature": block.get("signature", "")}
            return {**block, "thinking": "", "signature": ""}, [*pieces, signature]
        case "tool_use":
            # The API's first one is empty, and clients must bear it.
            parts = ["", *_parts(msgspec.json.encode(block["input"]).decode(), deltas)]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
        case _:
            return block, []


def _parts(text: str, count: int) -> list[str]:
    """Cut a text into `count` parts, or fewer when it has fewer characters."""
    count = max(1, min(count, len(text)))
    bounds = [len(text) * index // count for index in range(count + 1)]
    return [text[start:end] for start, end in itertools.pairwise(bounds)] if text else []
