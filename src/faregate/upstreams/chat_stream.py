"""An answer of Chat Completions in, Anthropic's out: sans-io, streamed or whole.

One rule: what comes out is a legal Anthropic stream at every point, and ends in `message_stop`, in one `error`, or in a
Fault.

    WAITING ──a chunk: message_start──> RUNNING ──finish_reason──> FINISHED ──[DONE], or the end──> COMPLETE
       └───────────────┴── error chunk ────┴── the same ──────────────┴──> COMPLETE

After the reason comes the usage, in a chunk without choices, if it comes; so the end is written when the stream has
ended, or `[DONE]` says so.
"""

import enum
import re
from typing import Any, Final

import msgspec

from faregate.upstreams import chat_usage
from faregate.upstreams.chat_blocks import Blocks, event
from faregate.upstreams.chat_errors import Trouble, of_chunk
from faregate.upstreams.port import Fault, FaultKind
from faregate.wire import sse


class State(enum.Enum):
    WAITING = enum.auto()
    RUNNING = enum.auto()
    FINISHED = enum.auto()
    COMPLETE = enum.auto()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer must be told by, of the request."""

    model: str
    message_id: str
    max_tokens: int
    stops: list[str]
    shows_thinking: bool
    """Whether the caller asked for thinking: who did not is not shown any."""
    input_guess: int
    """Input tokens as we estimate them."""
    prefill: str = ""
    """The answer's first words, where the caller gave them: Anthropic does not repeat them, and some peers do."""


class _Function(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class _Call(msgspec.Struct):
    index: Any = None
    id: Any = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    """What was before `tool_calls`."""


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: Any = None
    stop_reason: Any = None
    """vLLM: the stop sequence that was hit, or a token's number."""
    matched_stop: Any = None
    """SGLang: the same."""


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    system_fingerprint: Any = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode
_DONE: Final = b"[DONE]"
_ECHOES: Final = re.compile(r"b\d+-")
"""llama.cpp's fingerprint, its build: it begins the answer with the prefill. Others that begin so mean it."""


class Translation:
    """One answer."""

    def __init__(self, asked: Asked) -> None:
        self.state = State.WAITING
        self._asked = asked
        self._cutter = sse.Cutter()
        self._blocks = Blocks(f"toolu_{asked.message_id.removeprefix('msg_')}")
        self._hidden_bytes = 0
        self._echo = asked.prefill
        """What is left of the prefill, should the peer repeat it."""
        self._counts: chat_usage.Counts | None = None
        self._refused = False
        self._reason = ""
        self._stop: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Take the next piece, cut anywhere; give back what it makes. Raises Fault."""
        try:
            return b"".join([self._frame(frame) for frame in sse.frames(self._cutter.push(data)) if frame.data])
        except (msgspec.MsgspecError, sse.Overlong, UnicodeDecodeError, RecursionError) as error:
            self.state = State.COMPLETE
            raise Fault(FaultKind.PROTOCOL, f"the peer's stream cannot be read: {error}") from None

    def end(self) -> bytes:
        """The stream has ended, with or without its `[DONE]`. Raises Fault when the answer has not."""
        if self.state is State.FINISHED:
            return self._complete()
        if self.state is State.COMPLETE:
            return b""
        raise Fault(FaultKind.RESET, "the peer's stream ended before its finish_reason")

    def whole(self, body: bytes) -> dict[str, Any] | Trouble:
        """A plain answer, as a Message; or the error that it is. Raises Fault."""
        try:
            chunk = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Fault(FaultKind.PROTOCOL, f"the peer's answer cannot be read: {error}") from None
        if chunk.error is not None:
            return of_chunk(chunk.error)
        self._chunk(chunk)
        if self.state is not State.FINISHED:
            raise Fault(FaultKind.PROTOCOL, "the peer's answer has no finish_reason")
        self._complete()
        head = {"id": self._asked.message_id, "type": "message", "role": "assistant", "model": self._asked.model}
        return {**head, "content": self._blocks.content(), **self._end(), "usage": self._usage()}

    def _frame(self, frame: sse.Frame) -> bytes:
        if self.state is State.COMPLETE:
            return b""
        return self._done() if frame.data.strip() == _DONE else self._chunk(_decode(frame.data))

    def _done(self) -> bytes:
        if self.state is not State.FINISHED:
            raise Fault(FaultKind.RESET, "the peer's stream was done before its finish_reason")
        return self._complete()

    def _chunk(self, chunk: _Chunk) -> bytes:
        if chunk.error is not None:
            self.state = State.COMPLETE
            return event("error", error=of_chunk(chunk.error).envelope()["error"])
        # Some peers tell it in each chunk, most in the last: it is a total, and the last one counts.
        self._counts = chat_usage.counts(chunk.usage) or self._counts
        out = b""
        if self.state is State.WAITING:
            self.state = State.RUNNING
            out = self._start()
            if _ECHOES.match(str(chunk.system_fingerprint)) is None:
                self._echo = ""
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                out += self._choice(choice)
        return out

    def _choice(self, choice: _Choice) -> bytes:
        out = b""
        said = choice.delta or choice.message
        if said is not None:
            out = self._said(said, whole=choice.delta is None)
        if choice.finish_reason:
            self._finish(choice)
        return out

    def _said(self, said: _Delta, *, whole: bool) -> bytes:
        if self._warming:
            return b""  # One token is the least that a peer generates.
        out = self._thought(_text(said.reasoning_content) or _text(said.reasoning))
        out += self._blocks.text(self._unechoed(_text(said.content)))
        if refusal := _text(said.refusal):
            self._refused = True
            out += self._blocks.text(refusal)
        calls = said.tool_calls or ([_Call(function=said.function_call)] if said.function_call else ())
        for place, call in enumerate(calls):
            function = call.function or _Function()
            out += self._blocks.call(
                place if whole else call.index if type(call.index) is int else None,
                _text(call.id),
                _text(function.name),
                _arguments(function.arguments),
            )
        return out

    def _thought(self, text: str) -> bytes:
        if self._asked.shows_thinking:
            return self._blocks.thought(text)
        self._hidden_bytes += len(text.encode())
        return b""

    def _unechoed(self, text: str) -> str:
        """The text without what it repeats of the prefill."""
        if not self._echo or not text:
            return text
        echo, self._echo = self._echo, ""
        if echo.startswith(text):
            self._echo = echo[len(text) :]
            return ""
        if text.startswith(echo):
            return text[len(echo) :]
        return self._asked.prefill[: len(self._asked.prefill) - len(echo)] + text

    def _finish(self, choice: _Choice) -> None:
        reason = str(choice.finish_reason)
        if reason in chat_usage.BROKEN:
            raise Fault(FaultKind.RESET, f"the peer gave the answer up ({reason[:64]})")
        self._reason = chat_usage.REASONS.get(reason, "end_turn")
        self.state = State.FINISHED
        for told in (choice.stop_reason, choice.matched_stop):
            # A number is the token at which the model ended by itself.
            if self._reason == "end_turn" and isinstance(told, str) and told in self._asked.stops:
                self._stop = told

    def _start(self) -> bytes:
        message: dict[str, Any] = {
            "id": self._asked.message_id,
            "type": "message",
            "role": "assistant",
            "model": self._asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": chat_usage.at_start(self._counts, self._asked.input_guess),
        }
        return event("message_start", message=message)

    def _complete(self) -> bytes:
        out = self._blocks.finish(cut=self._reason in ("max_tokens", "refusal") or self._refused)
        self.state = State.COMPLETE
        return out + event("message_delta", delta=self._end(), usage=self._usage()) + event("message_stop")

    def _end(self) -> dict[str, Any]:
        return {"stop_reason": self._stop_reason(), "stop_sequence": self._stop}

    def _stop_reason(self) -> str:
        if self._warming:
            return "max_tokens"
        if self._refused:
            return "refusal"
        if self._stop is not None:
            return "stop_sequence"
        if self._reason == "max_tokens" and self._counts is not None:
            # A peer also stops where its context ends, short of what was asked.
            short = self._counts.completion < self._asked.max_tokens
            return "model_context_window_exceeded" if short else "max_tokens"
        # vLLM says "stop" of a tool that it was made to call, and others "tool_calls" of none.
        ended = self._reason in ("end_turn", "tool_use")
        return ("tool_use" if self._blocks.called else "end_turn") if ended else self._reason

    def _usage(self) -> dict[str, Any]:
        guess, text_bytes = self._asked.input_guess, self._blocks.bytes + self._hidden_bytes
        if self._counts is None:
            return chat_usage.estimated(guess, text_bytes)
        return chat_usage.at_end(self._counts, input_guess=guess, text_bytes=text_bytes, warming=self._warming)

    @property
    def _warming(self) -> bool:
        return self._asked.max_tokens == 0


def _text(value: object) -> str:
    """A text; of one that comes in parts, those that are text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""


def _arguments(value: object) -> str:
    """A tool's input, which some peers send as the object that it is."""
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else _text(value)
