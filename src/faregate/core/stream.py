"""A stream as the caller may see it: upstream's bytes in, the bytes that may pass now out.

Sans-io. Whole frames pass as they came; only `message_start` is edited (its id is ours, its model the one asked for).
The end is held back: `message_stop` stays in `tail` until the charge is written, and an `error`, ours or upstream's,
never passes at all - the relay renders one of its own from `fault`. What follows either is dropped.

    WAITING --message_start--> RUNNING --message_stop--> COMPLETE   tail holds the end
       └──────────────────────────┴──error, nonsense──> FAILED      fault says why

Deltas are the many; they are counted, not parsed. Once the first delta of a block has been read, its framing is known
and every later one is as long as it is more than that.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from faregate.core.meter import Meter, Progress
from faregate.wire import sse

_END: Final = b"message_stop"
_PAYLOADS: Final = ("text", "partial_json", "thinking")
_MARKERS: Final = (b"message_", b"content_block_st", b"error", b"signature", b"\r")
"""A run of bytes without any of these holds nothing but deltas and pings (or unknown events, which pass too)."""

_decode = msgspec.json.Decoder().decode


class StreamFault(msgspec.Struct, frozen=True):
    """Why a stream failed: upstream's own `error` event, or what was wrong with its bytes."""

    kind: str
    """`error.type` as upstream gave it; "" when the fault is in the bytes."""
    message: str


class Stream:
    """One streamed answer, from its first byte to its end."""

    __slots__ = ("_cutter", "_framing", "_learn", "_message_id", "_model", "fault", "meter", "tail")

    def __init__(self, *, message_id: str, model: str, meter: Meter) -> None:
        self.meter = meter
        self.tail = b""
        """`message_stop`, once it has come."""
        self.fault: StreamFault | None = None
        self._cutter = sse.Cutter()
        self._message_id = message_id
        self._model = model
        self._framing = 0
        self._learn = True

    @property
    def progress(self) -> Progress:
        return self.meter.progress

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; give back what may go to the caller now."""
        progress = self.meter.progress
        if progress is Progress.COMPLETE or progress is Progress.FAILED:
            return b""  # Nothing follows the end: a chatty upstream is not relayed past it.
        try:
            whole = self._cutter.push(data)
        except sse.Overlong:
            return self._fail("", "a frame of the stream has no end")
        if not whole:
            return b""
        if progress is Progress.RUNNING and self._only_deltas(whole):
            return whole
        return self._frames(whole)

    def _only_deltas(self, frames: bytes) -> bool:
        """Whether there is nothing to be read here; then it is counted. The same of one frame as of many, so that it
        does not matter where the network cut the stream."""
        if self._learn:
            return False
        for marker in _MARKERS:
            if marker in frames:
                return False
        self.meter.delivered(len(frames) - self._framing * frames.count(b"\n\n"))
        return True

    def end(self) -> None:
        """Upstream's bytes have ended. Without message_stop that is a fault, though HTTP may call it a clean end."""
        if self.meter.progress in (Progress.WAITING, Progress.RUNNING):
            self._fail("", "the stream ended before its message_stop")

    def _frames(self, whole: bytes) -> bytes:
        meter, passed = self.meter, []
        for raw in self._runs(whole):
            if self._only_deltas(raw):
                passed.append(raw)
                continue
            passed.append(self._frame(sse.parse(raw)))
            if meter.progress is Progress.COMPLETE or meter.progress is Progress.FAILED:
                break
        return b"".join(passed)

    def _runs(self, whole: bytes) -> Iterator[bytes]:
        """Divide whole frames: those with something to be read in them one by one, what lies between as one run."""
        if b"\r" in whole or b"\n\n\n" in whole:  # Where a frame ends is not seen at a glance.
            yield from sse.cut(whole)
            return
        at = 0
        while at < len(whole):
            end = at if self._learn else _end_of_deltas(whole, at)
            if end == at:
                end = whole.find(b"\n\n", at) + 2
            yield whole[at:end]
            at = end

    def _frame(self, frame: sse.Frame) -> bytes:
        if not frame.data and frame.event != _END:
            return frame.raw  # A comment, or a field we do not know.
        if frame.event == b"ping":
            return frame.raw
        try:
            event = _decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._fail("", "an event of the stream is not JSON")
        if not isinstance(event, dict):
            return self._fail("", "an event of the stream is not a JSON object")
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
            case _ if waiting:
                return self._fail("", "the stream does not begin with message_start")
            case "message_delta":
                self.meter.delta(event.get("usage"))
            case "message_stop":
                self.meter.stop()
                self.tail = frame.raw
                return b""
            case "content_block_start":
                self._learn = True
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
        payload = _payload(delta) if isinstance(delta, dict) else None
        if payload is not None:
            on_wire = len(msgspec.json.encode(payload)) - 2
            self.meter.delivered(on_wire)
            self._framing = len(frame.raw) - on_wire
            self._learn = False

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


def _end_of_deltas(whole: bytes, at: int) -> int:
    """Where the first frame from `at` on begins that has a marker, or the end."""
    marked = len(whole)
    for marker in _MARKERS:
        found = whole.find(marker, at, marked)
        marked = found if found >= 0 else marked
    if marked == len(whole):
        return marked
    before = whole.rfind(b"\n\n", at, marked)
    return before + 2 if before >= 0 else at


def _payload(delta: dict[str, Any]) -> str | None:
    for name in _PAYLOADS:
        if isinstance(value := delta.get(name), str):
            return value
    return None
