"""Amazon's event stream as Anthropic's: binary frames in, server-sent events out, wherever the network split them.

One rule: an event passes as the bytes that the model's maker wrote; we only put its name and `data:` around them. The
one key that Amazon adds to the last event, its own measurements, is left out: it is no part of the Messages API.

    frame, :event-type chunk          {"bytes": base64 of an event}   ->  event: TYPE, data: EVENT
    frame, :message-type exception    {"message": TEXT}               ->  event: error
    a checksum that is wrong, a frame that ends early                 ->  Fault(PROTOCOL), Fault(RESET)
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from botocore.eventstream import EventStreamBuffer

from faregate.upstreams.port import Answer, Fault, FaultKind, Sink

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"

STEP_BYTES: Final = 8 * 1024
"""The parser copies what is left behind each frame, so it is fed no more than this at a time."""

_ERRORS: Final = {
    "throttlingException": "rate_limit_error",
    "serviceUnavailableException": "overloaded_error",
    "modelTimeoutException": "timeout_error",
    "validationException": "invalid_request_error",
}
"""And everything else, as modelStreamErrorException and internalServerException, is an api_error."""
_METRICS: Final = "amazon-bedrock-invocationMetrics"
_NAME: Final = re.compile(r"[\w.-]{1,100}", re.ASCII)
_HEADERS: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class _Part(msgspec.Struct):
    bytes: bytes
    """msgspec reads base64 where bytes are wanted."""


class _Event(msgspec.Struct):
    type: str


class _Trouble(msgspec.Struct):
    message: str = ""
    original: str = msgspec.field(default="", name="originalMessage")


_part = msgspec.json.Decoder(_Part).decode
_event = msgspec.json.Decoder(_Event).decode
_trouble = msgspec.json.Decoder(_Trouble).decode


class Translation:
    """One stream, from its first byte to its end."""

    __slots__ = ("_buffer", "_name", "_unfinished", "fault")

    def __init__(self, name: str) -> None:
        """`name` is the upstream's, for faults."""
        self.fault: Fault | None = None
        """What went wrong, behind the events that were given back."""
        self._name = name
        self._buffer = EventStreamBuffer()
        self._unfinished = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; give back the events that are whole now, b"" if none is. Then look at `fault`."""
        events: list[bytes] = []
        if self.fault is not None:
            return b""
        try:
            for at in range(0, len(data), STEP_BYTES):
                piece = data[at : at + STEP_BYTES]
                self._unfinished += len(piece)
                self._buffer.add_data(piece)
                for frame in self._buffer:
                    self._unfinished -= frame.prelude.total_length
                    events.append(_translate(frame.headers, frame.payload))
        except Exception as error:  # A parser that is not ours may fail in any way at what is not a frame.
            message = f"{self._name}: not an event stream: {type(error).__name__}: {error}"
            self.fault = Fault(FaultKind.PROTOCOL, message)
        return b"".join(events)

    @property
    def between_frames(self) -> bool:
        return not self._unfinished and self.fault is None

    def end(self) -> None:
        """Its bytes have ended. That is a fault when it was within a frame."""
        if self._unfinished and self.fault is None:
            self.fault = Fault(FaultKind.RESET, f"{self._name}: the stream ended within a frame")


class Events:
    """An `Answer`: the event stream of another, translated as it is read."""

    status = 200
    headers: Mapping[str, str] = _HEADERS

    def __init__(self, answer: Answer, name: str) -> None:
        self._answer = answer
        self._translation = Translation(name)

    async def read(self) -> bytes:
        """What was whole before a fault is read before it."""
        translation, events = self._translation, b""
        while not events:
            self._stop_at_fault()
            data = await self._answer.read()
            if not data:
                translation.end()
                self._stop_at_fault()
                break
            events = translation.feed(data)
        return events

    async def pour(self, sink: Sink) -> bool:
        feed = self._translation.feed

        def translated(data: bytes) -> bool:
            events = feed(data)
            return (sink(events) if events else True) and self._translation.fault is None

        ended = await self._answer.pour(translated)
        if ended:
            self._translation.end()
        self._stop_at_fault()
        return ended

    def _stop_at_fault(self) -> None:
        """Raises Fault, and the connection is closed: whatever else comes on it is not to be understood."""
        if self._translation.fault is not None:
            self._answer.cancel()
            raise self._translation.fault

    def cancel(self) -> None:
        self._answer.cancel()

    def leave(self) -> None:
        if self._translation.between_frames:
            self._answer.leave()
        else:
            self._answer.cancel()


def _translate(headers: Mapping[str, Any], payload: bytes) -> bytes:
    kind = headers.get(":message-type")
    if kind == "event":
        return _chunk(_part(payload).bytes) if headers.get(":event-type") == "chunk" else b""
    if kind == "exception":
        trouble = _trouble(payload)
        return _error(_ERRORS.get(headers[":exception-type"], "api_error"), trouble.original or trouble.message)
    if kind == "error":
        return _error("api_error", str(headers.get(":error-message", "")))
    raise ValueError(f"a frame of type {kind!r}")


def _chunk(event: bytes) -> bytes:
    name = _event(event).type
    if not _NAME.fullmatch(name):
        raise ValueError("an event whose type is no name")
    if name == "message_stop" and _METRICS.encode() in event:
        stop = msgspec.json.decode(event)
        stop.pop(_METRICS, None)
        event = msgspec.json.encode(stop)
    if b"\n" in event or b"\r" in event:  # Between JSON's tokens only, where it would end our line.
        event = b" ".join(event.splitlines())
    return b"event: " + name.encode() + b"\ndata: " + event + b"\n\n"


def _error(kind: str, message: str) -> bytes:
    return _chunk(msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}}))
