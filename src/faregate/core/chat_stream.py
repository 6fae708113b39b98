"""A stream as Chat Completions has it: whole frames of the Messages API in, frames of `chat.completion.chunk` out.

Sans-io, and fed with what `core.stream` lets pass: it begins with message_start, and its end comes last and alone, once
the charge is written. The rule: why the model stopped, the usage and [DONE] wait for that end, since a client that has
seen any of them may believe that it has the whole answer.

    message_start -> role     text, thinking -> content, reasoning_content     tool_use -> tool_calls, numbered from 0
    ping -> a comment         message_stop -> finish_reason, usage where it was asked for, [DONE]
"""

import contextlib
from typing import Any, Final

import msgspec

from faregate.core.chat import Block, finish, head, spelled, usage_shown
from faregate.core.errors import UpstreamFailed
from faregate.core.meter import Meter
from faregate.wire import sse

PING: Final = b": ping\n\n"
"""A comment: a chunk without a choice would be taken for the usage."""

DONE: Final = b"data: [DONE]\n\n"

_READ: Final = frozenset({
    b"", b"message_start", b"content_block_start", b"content_block_delta", b"content_block_stop", b"message_delta",
    b"message_stop",
})  # fmt: skip
"""An event of another name is upstream's to send and the caller's to ignore, whatever is in it."""


class _Delta(msgspec.Struct, frozen=True):
    type: Any = None
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: Any = None


class _Message(msgspec.Struct, frozen=True):
    id: str = ""
    model: str = ""
    usage: Any = None


class _Event(msgspec.Struct, frozen=True):
    type: str | None = None
    index: int = 0
    delta: _Delta = _Delta()
    content_block: Block = Block()
    message: _Message = _Message()
    usage: Any = None


class _Call(msgspec.Struct):
    """A call of a tool in the making."""

    number: int
    given: str
    """What stood in its block from the first, for a stream that adds nothing to it."""
    written: bool = False


_decode = msgspec.json.Decoder(_Event).decode


class ChunkStream:
    """One streamed answer, from its first frame to its end."""

    __slots__ = ("_after", "_before", "_calls", "_ended", "_include_usage", "_meter", "_stop_reason")

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._meter = Meter()
        self._stop_reason: object = None
        self._ended = False
        self._calls: dict[int, _Call] = {}
        """By the index of their block."""
        self._before = self._after = b""
        """What every chunk has around its choices."""

    def feed(self, whole: bytes) -> bytes:
        """Take a run of whole frames; give what goes to the caller for them. Raises UpstreamFailed."""
        return b"".join([self._frame(frame) for frame in sse.frames(whole)])

    def end(self, whole: bytes) -> bytes:
        """The last of it, for which the charge is written: an end comes, whatever its frame looks like."""
        out = []
        for frame in sse.frames(whole):
            with contextlib.suppress(UpstreamFailed):  # What is billed is no failure any more.
                out.append(self._frame(frame))
        return b"".join(out) if self._ended else b"".join([*out, self._end()])

    def _frame(self, frame: sse.Frame) -> bytes:
        if frame.event == b"ping":
            return PING
        if not frame.data or frame.event not in _READ:
            return b""
        try:
            event = _decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamFailed("The upstream's stream had an event that cannot be read.") from None
        return self._event(event.type or frame.event.decode(), event)

    def _event(self, name: str, event: _Event) -> bytes:
        match name:
            case "content_block_delta":
                return self._delta(event)
            case "content_block_start":
                return self._block(event)
            case "content_block_stop":
                return self._block_end(event.index)
            case "message_start":
                return self._start(event.message)
            case "message_delta":
                self._meter.delta(event.usage)
                self._stop_reason = event.delta.stop_reason or self._stop_reason
            case "message_stop":
                self._meter.stop()
                return self._end()
        return b""

    def _start(self, message: _Message) -> bytes:
        self._meter.start(message.usage)
        first = msgspec.json.encode(head("chat.completion.chunk", message.id, message.model))
        self._before = b"data: " + first[:-1] + b',"choices":['
        self._after = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _delta(self, event: _Event) -> bytes:
        delta = event.delta
        if type(delta.text) is str and delta.type == "text_delta":
            return self._said("content", delta.text)
        if type(delta.partial_json) is str and (call := self._calls.get(event.index)) is not None:
            return self._arguments(call, delta.partial_json)
        if type(delta.thinking) is str and delta.type == "thinking_delta":
            return self._said("reasoning_content", delta.thinking)
        return b""

    def _block(self, event: _Event) -> bytes:
        block = event.content_block
        if block.type == "tool_use":
            call = self._calls[event.index] = _Call(len(self._calls), spelled(block.input))
            function = {"name": block.name, "arguments": ""}
            return self._called({"index": call.number, "id": block.id, "type": "function", "function": function})
        if block.type == "text" and type(block.text) is str:
            return self._said("content", block.text)
        if block.type == "thinking" and type(block.thinking) is str:
            return self._said("reasoning_content", block.thinking)
        return b""

    def _block_end(self, index: int) -> bytes:
        """Arguments that nothing was written of are an empty object: OpenAI's clients read them as JSON."""
        call = self._calls.get(index)
        return self._arguments(call, call.given) if call is not None and not call.written else b""

    def _end(self) -> bytes:
        self._ended = True
        last = self._choice({}, msgspec.json.encode(finish(self._stop_reason)))
        if not self._include_usage:
            return last + DONE
        usage = msgspec.json.encode(usage_shown(self._meter.close().usage))
        return last + self._before + b'],"usage":' + usage + b"}\n\n" + DONE

    def _said(self, name: str, text: str) -> bytes:
        return self._chunk({name: text}) if text else b""

    def _arguments(self, call: _Call, text: str) -> bytes:
        if not text:
            return b""
        call.written = True
        return self._called({"index": call.number, "function": {"arguments": text}})

    def _called(self, call: dict[str, Any]) -> bytes:
        return self._chunk({"tool_calls": [call]})

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return self._choice(delta, b"null")

    def _choice(self, delta: dict[str, Any], reason: bytes) -> bytes:
        written = msgspec.json.encode(delta)
        choice = b'{"index":0,"delta":' + written + b',"logprobs":null,"finish_reason":' + reason + b"}"
        return self._before + choice + self._after
