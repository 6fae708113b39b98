"""One connection to an upstream: writes a request, parses the answer into its Reply, and goes back to its pool.

One rule: a connection serves one exchange at a time, and is used again only when the last one left nothing behind:
the answer was framed, whole, allowed keep-alive, no byte followed it, and no byte of the request is still unsent.

    OPENING ──made──> IDLE ──start──> BUSY ──last byte──> IDLE
                       │               │
                       └───────────────┴──closed, fault, hang-up──> LOST

Framing is judged by llhttp in its strict mode (no Content-Length beside Transfer-Encoding, no duplicate lengths, no
bare line feeds); what it lets pass and we do not is in `on_headers_complete`.
"""

import asyncio
from typing import Final, Protocol, cast

import httptools

from faregate.upstreams.port import FaultKind
from faregate.upstreams.reply import Reply, Timeouts

HEAD_BYTES_MAX: Final = 64 * 1024
"""A head, all interim heads before it, or trailers: as much as uvicorn and nginx-sized proxies ever let through."""


class Owner(Protocol):
    """The pool, as a connection knows it."""

    def released(self, connection: "Connection") -> None:
        """Its answer has come whole and it may be used again."""

    def lost(self, connection: "Connection") -> None:
        """Its socket is closed."""


class Connection(asyncio.Protocol):
    """Made by a pool; `start` is all that is called from above."""

    __slots__ = (
        "_barren_bytes", "_complete", "_dirty", "_fields", "_framed", "_head_bytes", "_interim", "_keep", "_loop",
        "_owner", "_parser", "_pieces", "_reply", "_source", "_transport", "_violation", "idle_since", "on_body",
        "reused",
    )  # fmt: skip

    _violation: str | None
    _fields: dict[str, str]

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, source: str) -> None:
        self.idle_since = 0.0
        self.reused = False
        """Whether an exchange before this one went through it."""
        self._loop = loop
        self._owner = owner
        self._source = source
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._pieces: list[bytes] = []
        # The parser calls the list itself for each piece of body: in a burst of events that is most of the work.
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)
        self._expect_head()

    def __repr__(self) -> str:
        return f"<Connection to {self._source}>"

    def start(self, request: bytes, limits: Timeouts, first_byte_s: float) -> Reply:
        """Send one request, whole; its answer is filled as it comes."""
        assert self._transport is not None and self._reply is None, "one exchange at a time"
        reply = self._reply = Reply(self._loop, self, self._source, limits, first_byte_s)
        self._expect_head()
        self._transport.write(request)
        return reply

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def reply(self) -> Reply | None:
        """The exchange it is busy with."""
        return self._reply

    # What the reply asks of its line.

    def hang_up(self) -> None:
        """Close the socket now: unsent bytes are dropped, no TLS farewell is waited for."""
        self._reply = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def fail(self, kind: FaultKind, message: str) -> None:
        """End the exchange with a fault and the connection with it."""
        reply = self._reply
        self.hang_up()
        if reply is not None:
            reply.fail(kind, message)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None:
            # Bytes that nobody asked for could be taken for the next caller's answer.
            self.hang_up()
            return
        reply.pieces += 1
        self._barren_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # After the end it only means that more came than the answer: on_message_begin has seen that.
            if not self._complete:
                self._violation = self._violation or f"answered with what is not HTTP/1.1: {error}"
        if self._pieces:
            self._hand_over(reply)
        if self._violation is not None:
            self.fail(FaultKind.PROTOCOL, f"{self._source} {self._violation}")
        elif self._complete:
            self._finish(reply)
        elif self._barren_bytes > HEAD_BYTES_MAX:
            self.fail(FaultKind.PROTOCOL, f"{self._source} sent more than {HEAD_BYTES_MAX} bytes of head or framing")

    def eof_received(self) -> None:
        # Concluded here and not in connection_lost: that waits until a request still being sent has been flushed.
        self._conclude(None)
        self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._conclude(exc)
        self._transport = None
        # The parser holds our methods: without this, every connection ever closed waits for the garbage collector.
        del self._parser, self.on_body
        self._owner.lost(self)

    def _conclude(self, exc: Exception | None) -> None:
        """The peer has gone. That is the clean end only of an answer that has no other way to end.

        TLS cannot help to tell here: asyncio reports an end without close_notify as any other. A stream is judged
        above by its message_stop, a plain answer by its JSON.
        """
        reply, self._reply = self._reply, None
        if reply is None:
            return
        if exc is None and reply.status and not self._framed:
            reply.end()
        else:
            when = "within its answer" if reply.pieces else "before it answered"
            reply.fail(FaultKind.RESET, f"{self._source} closed the connection {when}" + (f": {exc}" if exc else ""))

    def _finish(self, reply: Reply) -> None:
        self._reply = None
        reply.end()
        transport = self._transport
        assert transport is not None
        if self._keep and not self._dirty and not transport.is_closing() and not transport.get_write_buffer_size():
            self.resume()
            self.reused = True
            self._owner.released(self)
        else:
            transport.abort()

    # httptools' callbacks

    def _expect_head(self) -> None:
        self._fields = {}
        self._head_bytes = 0
        self._barren_bytes = 0
        """Bytes since the last piece of body: bounds heads, trailers and framing that never become anything."""
        self._framed = True
        self._interim = False
        self._complete = False
        self._keep = False
        self._dirty = False
        self._violation = None

    def on_message_begin(self) -> None:
        if self._complete:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > HEAD_BYTES_MAX:
            self._violation = f"sent more than {HEAD_BYTES_MAX} bytes of headers"
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        fields = self._fields
        fields[key] = f"{fields[key]}, {text}" if key in fields else text

    def on_headers_complete(self) -> None:
        if self._complete or self._violation is not None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim = True
            return
        fields = self._fields
        # Trailers come through on_header too; they must not change a head that has been handed over.
        self._fields = {}
        coding = fields.get("transfer-encoding")
        if not self._parser.get_http_version().startswith("1."):
            self._violation = f"answered in HTTP/{self._parser.get_http_version()}"
        elif status < 100:
            self._violation = f"answered with status {status}"
        elif coding is not None and coding.lower() != "chunked":
            self._violation = "answered with a transfer-encoding other than chunked"
        elif fields.get("content-encoding", "identity").lower() != "identity":
            self._violation = f"compressed its answer ({fields['content-encoding'][:40]}) though asked for identity"
        elif self._reply is not None:
            self._framed = coding is not None or "content-length" in fields or status in (204, 304)
            self._reply.take_head(status, fields)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._fields = {}
            return
        if not self._complete:
            if self._pieces and self._reply is not None:
                self._hand_over(self._reply)
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def _hand_over(self, reply: Reply) -> None:
        """Give the reader the body that came in this read of the socket, as one piece."""
        pieces = self._pieces
        # Body without a head that was taken, or after the end, is nobody's.
        if reply.status and not self._complete:
            self._barren_bytes = 0
            reply.take_body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        pieces.clear()
