"""The embedded model's own stream in, Anthropic's out: sans-io, one frame at a time.

One rule: what comes out is a legal Anthropic stream at every point, and ends in `message_stop` or in a Fault.

    WAITING ──progress of the prompt: message_start──> RUNNING ──its last frame: message_stop──> COMPLETE
       └──────────────────────────┴──an error, nonsense: raises──> COMPLETE

Its frames are `data: {"content": ..., "stop": false}`; before them comes `prompt_progress`, and the last one, with
`"stop": true`, says why it stopped and what it counted.
"""

import enum
import re
from typing import Any, Final, Literal

import msgspec

from faregate.core.errors import InvalidRequest, Unsupported
from faregate.upstreams.local_wire import Plan, Shape
from faregate.upstreams.port import Fault, FaultKind
from faregate.wire import sse


class State(enum.Enum):
    WAITING = enum.auto()
    RUNNING = enum.auto()
    COMPLETE = enum.auto()


class Toll(msgspec.Struct, frozen=True):
    """What a wallet's salt costs in each of its prompts, in tokens."""

    salt: int
    """Taken off every count."""
    head: int
    """The template's first words and the salt: what is alike in all prompts of a wallet. Never shown as cached."""


class Ids(msgspec.Struct, frozen=True):
    message: str
    tool: str


class _Progress(msgspec.Struct):
    total: int = 0
    cache: int = 0


class _Timings(msgspec.Struct):
    cache_n: int = 0


class _Trouble(msgspec.Struct):
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Frame(msgspec.Struct):
    content: str = ""
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    prompt_progress: _Progress | None = None
    timings: _Timings | None = None
    error: _Trouble | None = None


class _Refusal(msgspec.Struct):
    error: _Trouble


_decode: Final = msgspec.json.Decoder(_Frame).decode


class Translation:
    """One answer of the model."""

    def __init__(self, planned: Plan, toll: Toll, ids: Ids, model: str) -> None:
        self.state = State.WAITING
        self.texted = False
        """Whether anything of the answer has come, beside space."""
        self._plan = planned
        self._toll = toll
        self._ids = ids
        self._model = model
        self._cutter = sse.Cutter()
        self._choice = Choice() if planned.shape is Shape.CHOICE else None
        self._tool = planned.tool
        self._open = False
        self._pieces: list[str] = []
        self._usage: dict[str, Any] = {}
        self._end: dict[str, Any] = {}

    def feed(self, data: bytes) -> bytes:
        """Take the next piece, cut anywhere; give back what it makes. Raises Fault, InvalidRequest or Unsupported."""
        try:
            whole = self._cutter.push(data)
            return b"".join([self._frame(_decode(frame.data)) for frame in sse.frames(whole) if frame.data])
        except (msgspec.MsgspecError, sse.Overlong, UnicodeDecodeError) as error:
            self.state = State.COMPLETE
            raise Fault(FaultKind.PROTOCOL, f"the offline model's stream cannot be read: {error}") from None

    def message(self) -> dict[str, Any]:
        """The whole answer, for who asked without a stream. Only when COMPLETE."""
        assert self.state is State.COMPLETE
        text = "".join(self._pieces)
        content: list[dict[str, Any]] = []
        if self._tool is not None and self._open:
            content = [{"type": "tool_use", "id": self._ids.tool, "name": self._tool, "input": _input(text)}]
        elif self._open:
            content = [{"type": "text", "text": text}]
        return {**self._head(), "content": content, **self._end, "usage": self._usage}

    def _frame(self, frame: _Frame) -> bytes:
        if self.state is State.COMPLETE:
            return b""
        if frame.error is not None:
            waiting, self.state = self.state is State.WAITING, State.COMPLETE
            raise refusal(frame.error, self._toll if waiting else None)
        out = b""
        if self.state is State.WAITING:
            progress = frame.prompt_progress or _Progress(total=frame.tokens_evaluated)
            out = self._start(progress)
        if frame.content and self._plan.max_tokens:
            out += self._text(frame.content)
        return out + self._stop(frame) if frame.stop else out

    def _start(self, progress: _Progress) -> bytes:
        self.state = State.RUNNING
        self._count(progress.total, progress.cache, 1 if self._plan.max_tokens else 0)
        message = {**self._head(), "content": [], "stop_reason": None, "stop_sequence": None, "usage": self._usage}
        out = _event("message_start", message=message)
        # Of a forced tool the block is certain, whatever becomes of its input.
        return out + self._open_block() if self._plan.shape is Shape.TOOL and self._plan.max_tokens else out

    def _text(self, text: str) -> bytes:
        out = b""
        if not self.texted and (start := text.lstrip()[:1]):
            self.texted = True
            self._check_held(start)
        if self._choice is not None:
            text = self._choice.feed(text)
            self._tool = self._choice.name
        if not text:
            return out
        if not self._open:
            out = self._open_block()
        self._pieces.append(text)
        if self._tool is None:
            delta = {"type": "text_delta", "text": text}
        else:
            delta = {"type": "input_json_delta", "partial_json": text}
        return out + _event("content_block_delta", index=0, delta=delta)

    def _check_held(self, start: str) -> None:
        """A schema that cannot be compiled leaves the model unbound, and it does not say so: its first words do."""
        if self._plan.shape is not Shape.TEXT and start != "{":
            self.state = State.COMPLETE
            raise Unsupported("tools: The offline model cannot be held to this input_schema; make it simpler")

    def _open_block(self) -> bytes:
        self._open = True
        if self._tool is None:
            block: dict[str, Any] = {"type": "text", "text": ""}
        else:
            block = {"type": "tool_use", "id": self._ids.tool, "name": self._tool, "input": {}}
        return _event("content_block_start", index=0, content_block=block)

    def _stop(self, frame: _Frame) -> bytes:
        self.state = State.COMPLETE
        if self._plan.schema is not None and frame.stop_type == "eos" and self._plan.max_tokens:
            self._check_whole()
        cached = frame.timings.cache_n if frame.timings is not None else 0
        output = min(frame.tokens_predicted, self._plan.max_tokens)
        self._count(frame.tokens_evaluated, cached, output)
        word = frame.stopping_word if frame.stop_type == "word" else None
        self._end = {"stop_reason": self._reason(frame.stop_type, output), "stop_sequence": word}
        out = _event("content_block_stop", index=0) if self._open else b""
        return out + _event("message_delta", delta=self._end, usage=self._usage) + _event("message_stop")

    def _check_whole(self) -> None:
        text = "".join(self._pieces)
        try:
            msgspec.json.decode(text)
        except msgspec.MsgspecError:
            raise Fault(FaultKind.PROTOCOL, "the offline model was to write JSON and did not") from None

    def _reason(self, stop_type: str, output: int) -> str:
        match stop_type:
            case "word":
                return "stop_sequence"
            case "limit":
                # It also stops where its slot ends, short of what was asked.
                return "max_tokens" if output >= self._plan.max_tokens else "model_context_window_exceeded"
            case _:
                return "end_turn" if self._plan.shape is Shape.TEXT else "tool_use"

    def _count(self, total: int, cached: int, output: int) -> None:
        cached = max(0, cached - self._toll.head)
        self._usage = {
            "input_tokens": max(0, total - self._toll.salt - cached),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output,
            "service_tier": "standard",
        }

    def _head(self) -> dict[str, Any]:
        return {"id": self._ids.message, "type": "message", "role": "assistant", "model": self._model}


class Choice:
    """Finds the parts of `{"name": "...", "input": {...}}` as it is written, wherever it is cut."""

    _HEAD: Final = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"input"\s*:\s*(?=\S)', re.DOTALL)
    _MARK: Final = re.compile(r'[{}\[\]"\\]')

    def __init__(self) -> None:
        self.name: str | None = None
        self._head = ""
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._done = False

    def feed(self, text: str) -> str:
        """The next piece; gives back what of it belongs to the input."""
        if self.name is None:
            self._head += text
            match = self._HEAD.match(self._head)
            if match is None:
                return ""
            self.name = msgspec.json.decode(match[1], type=str)
            text = self._head[match.end() :]
        return "" if self._done else text[: self._end_of_input(text)]

    def _end_of_input(self, text: str) -> int:
        for index, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped = char == "\\"
                self._quoted = char != '"'
            elif char == '"':
                self._quoted = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._done = True
                    return index + 1
        return len(text)


def refusal(trouble: _Trouble, toll: Toll | None) -> Exception:
    """What an error of the model's server means for the caller. Its own words stay here. Without a toll it is a Fault:
    the answer has begun.
    """
    if toll is not None and trouble.type == "exceed_context_size_error":
        # One place of the slot stays free for the first token of an answer.
        most = trouble.n_ctx - 1 - toll.salt
        return InvalidRequest(
            f"prompt is too long: {trouble.n_prompt_tokens - toll.salt} tokens > {most} maximum",
            code="context_length_exceeded",
        )
    return Fault(FaultKind.PROTOCOL, f"the offline model answered with an error ({trouble.type})")


def read_refusal(body: bytes, status: int, toll: Toll) -> Exception:
    """The same for an answer that is not 200."""
    try:
        return refusal(msgspec.json.decode(body, type=_Refusal).error, toll)
    except msgspec.MsgspecError:
        return Fault(FaultKind.PROTOCOL, f"the offline model answered with status {status}")


def _input(text: str) -> Any:
    """A tool's input; what was cut off by max_tokens is not JSON, and then there is none."""
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return {}


Name = Literal["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
               "message_stop"]  # fmt: skip


def _event(name: Name, **fields: Any) -> bytes:
    return sse.render(name.encode(), msgspec.json.encode({"type": name, **fields}))
