"""A stream as the caller may see it: upstream's bytes in, the bytes that may pass now out.

Sans-io. Whole frames pass as they came; only `message_start` is edited (its id is ours, its model the one asked for).
The end is held back: `message_stop` stays in `tail` until the charge is written, and an `error`, ours or upstream's,
never passes at all - the relay renders one of its own from `fault`. What follows either is dropped.

    WAITING --message_start--> RUNNING --message_stop--> COMPLETE   tail holds the end
       └──────────────────────────┴──error, nonsense──> FAILED      fault says why

Deltas are the many; they are counted, not parsed. Once the first delta of a block has been read, its head is known, all
that stands before what was generated: every frame that begins with it is a delta, and its text is the string behind it.
"""

import re
from typing import Any, Final

import msgspec

from faregate.core.meter import Meter, Progress
from faregate.wire import sse

_END: Final = b"message_stop"
_ERROR: Final = b"error"
_SUBSTANCE: Final = ("content_block_start", "content_block_delta", "message_delta", "message_stop")
"""What belongs to a message that has begun. Whatever else comes before `message_start` carries nothing, and passes."""
_PAYLOADS: Final = ("text", "partial_json", "thinking")
_REST: Final = re.compile(rb'([^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+)" *\} *\} *\n\n')
_STRING: Final = re.compile(rb' ?"((?:[^"\\]|\\.)*+)"')

_decode = msgspec.json.Decoder().decode


class StreamFault(msgspec.Struct, frozen=True):
    """Why a stream failed: upstream's own `error` event, or what was wrong with its bytes."""

    kind: str
    """`error.type` as upstream gave it; "" when the fault is in the bytes."""
    message: str


class Stream:
    """One streamed answer, from its first byte to its end."""

    __slots__ = ("_cutter", "_head", "_message_id", "_model", "fault", "meter", "tail")

    def __init__(self, *, message_id: str, model: str, meter: Meter) -> None:
        self.meter = meter
        self.tail = b""
        """`message_stop`, once it has come."""
        self.fault: StreamFault | None = None
        self._cutter = sse.Cutter()
        self._message_id = message_id
        self._model = model
        self._head = b""
        """What the last delta that was read begins with; a block of its own has another index in it."""

    @property
    def progress(self) -> Progress:
        return self.meter.progress

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; give back what may go to the caller now."""
        progress = self.meter.progress
        if progress is Progress.COMPLETE or progress is Progress.FAILED:
            return b""  # Nothing follows the end: a chatty upstream is not relayed past it.
        end = self._deltas(data, 0) if self._head and not self._cutter.unfinished else 0
        if end == len(data):
            return data
        try:
            whole = self._cutter.push(data[end:])
        except sse.Overlong:
            return self._fail("", "a frame of the stream has no end")
        return data[:end] + self._frames(whole)

    def end(self) -> None:
        """Upstream's bytes have ended. Without message_stop that is a fault, though HTTP may call it a clean end."""
        if self.meter.progress in (Progress.WAITING, Progress.RUNNING):
            self._fail("", "the stream ended before its message_stop")

    def _frames(self, whole: bytes) -> bytes:
        meter, passed, at = self.meter, [], 0
        while at < len(whole):
            end = self._deltas(whole, at)
            if end > at:
                passed.append(whole[at:end])
            else:
                end = sse.end_of_first(whole, at)
                passed.append(self._frame(sse.parse(whole[at:end])))
                if meter.progress is Progress.COMPLETE or meter.progress is Progress.FAILED:
                    break
            at = end
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def _deltas(self, whole: bytes, at: int) -> int:
        """Count the frames from `at` on that are deltas like the last that was read; where they end.

        Within JSON neither a line end nor a quote can stand unescaped, so nothing that was generated looks like the end
        or the head of a frame. One that has anything behind its text but the closing of the event is none of them;
        Anthropic pads that with spaces, of no fixed number.
        """
        head, end = self._head, at
        if head:
            size = 0
            while whole.startswith(head, end) and (rest := _REST.match(whole, end + len(head))) is not None:
                size += rest.end(1) - rest.start(1)
                end = rest.end()
            self.meter.delivered(size)
        return end

    def _frame(self, frame: sse.Frame) -> bytes:
        if not frame.data and frame.event not in (_END, _ERROR):
            return frame.raw  # A comment, or a field we do not know.
        harmless = frame.event == b"ping"  # Unless its data says that it is something else.
        try:
            event = _decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return frame.raw if harmless else self._fail("", "an event of the stream is not JSON")
        if not isinstance(event, dict):
            return frame.raw if harmless else self._fail("", "an event of the stream is not a JSON object")
        if frame.event == _ERROR:  # Clients end at its name, whatever its data calls itself.
            return self._error(event)
        if frame.event == _END and event.get("type", "message_stop") != "message_stop":
            return self._fail("", "a message_stop says that it is none")  # Some clients end at the event's name.
        return self._event(frame, event)

    def _event(self, frame: sse.Frame, event: dict[str, Any]) -> bytes:
        name = event.get("type", frame.event.decode(errors="replace"))
        waiting = self.meter.progress is Progress.WAITING
        match name:
            case "message_start":
                return self._start(event) if waiting else self._fail("", "a second message_start")
            case "error":
                return self._error(event)
            case "ping":
                return frame.raw
            case _ if waiting and name in _SUBSTANCE:
                return self._fail("", "the stream does not begin with message_start")
            case "message_delta":
                self.meter.delta(event.get("usage"))
            case "message_stop":
                self.meter.stop()
                self.tail = frame.raw
                return b""
            case "content_block_delta":
                self._delta(frame, event)
            case _:
                pass  # Unknown events are upstream's to send and the caller's to ignore.
        return frame.raw

    def _start(self, event: dict[str, Any]) -> bytes:
        message = event.get("message")
        if not isinstance(message, dict):
            return self._fail("", "message_start has no message")
        self.meter.start(message.get("usage"))
        event["message"] = {**message, "id": self._message_id, "model": self._model}
        return sse.render(b"message_start", msgspec.json.encode(event))

    def _delta(self, frame: sse.Frame, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        name = _payload_name(delta) if isinstance(delta, dict) else None
        if name is None:
            return
        # As it is written: what is counted of the frames that are not read is what is written in them, too.
        before, colon, rest = frame.raw.partition(b'"%b":' % name.encode())
        string = _STRING.match(rest)
        if string is None:  # Divided into several lines, or spaced as nobody writes it.
            self.meter.delivered(len(msgspec.json.encode(event["delta"][name])) - 2)
            return
        self._head = before + colon + rest[: string.start(1)]
        self.meter.delivered(len(string[1]))

    def _error(self, event: dict[str, Any]) -> bytes:
        error = event.get("error")
        kind, message = (error.get("type"), error.get("message")) if isinstance(error, dict) else ("", "")
        return self._fail(
            kind if isinstance(kind, str) and kind else "api_error",
            message if isinstance(message, str) and message else "The upstream ended the stream with an error.",
        )

    def _fail(self, kind: str, message: str) -> bytes:
        self.meter.fail()
        self.fault = StreamFault(kind, message)
        return b""


def _payload_name(delta: dict[str, Any]) -> str | None:
    for name in _PAYLOADS:
        if isinstance(delta.get(name), str):
            return name
    return None
