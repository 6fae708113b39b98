"""HTTP as it comes in: uvicorn's own protocol, with a bound on heads, our envelope for what is not HTTP, and a straight
way for calls: POST /v1/messages becomes a Call on this connection, and POST /v1/chat/completions a ChatCall; everything
else is a request of ASGI.

The rule: nobody needs a key to reach this, so nothing here may grow, or stay, with what a stranger sends. uvicorn
bounds no head, no trailer and no wait for them; here what is over HEAD_BYTES_MAX, or later than HEAD_S, ends its
connection. So does an answer of which nothing is taken for SEND_S: its caller has left, and is billed as one who has.

    open ──bytes──> head ──whole──> body ──whole──> nothing to read
      └── clock ─────┘               └── clock, once it is answered: the rest is only thrown away
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from faregate.core.errors import BodyTimeout, GatewayError, InvalidRequest
from faregate.core.ids import CHANCE_BITS, ulid
from faregate.edge.asgi import Door
from faregate.edge.call import Call
from faregate.edge.errors import render
from faregate.edge.intake import CLOSE

HEAD_BYTES_MAX: Final = 64 * 1024
"""Twice what nginx takes with its defaults, and many times what an SDK with all of its betas sends."""

HEAD_S: Final = 10.0
"""A head is a packet or a few: who sends it by the byte wants to hold a connection that costs us more than them."""

REST_S: Final = 60.0
"""For what a refused request still has to send. It is as long as a body may take (settings: body_timeout_s)."""

SEND_S: Final = 60.0
"""nginx's send_timeout: between two times that the caller takes something, not for the whole answer."""

LINGER_S: Final = 1.0
"""For a refused sender to read why: closing on bytes that are still coming would reset the connection instead."""

PIPELINE_MAX: Final = 16
"""Requests that may wait behind one on a connection: no client that we know sends more than one."""

CALLS: Final = b"/v1/messages"
CHATS: Final = b"/v1/chat/completions"

NOT_PASSED_ON: Final = (b"upgrade", b"http2-settings", b"connection")


class Protocol(HttpToolsProtocol):
    """One connection from a caller."""

    head_s = HEAD_S
    rest_s = REST_S
    send_s = SEND_S

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.lost = False
        self.on_lost: Callable[[], None] | None = None
        """Who asked last to be told of a hang-up: call.Call."""
        self._head_open = False
        self._message_open = False
        self._let_in = False
        """Whether the head of the message that is open was good."""
        self._framing_bytes = 0
        """Bytes in which no body was: of a head, or after the last piece of a body, where trailers stand."""
        self._refused = False
        self._plainly = b""
        """A head that asked for another protocol, written again without that."""
        self._running: RequestResponseCycle | Call | None = None
        """The request that is being answered: others may have come behind it."""
        self._clock: asyncio.TimerHandle | None = None
        self._send_clock: asyncio.TimerHandle | None = None
        """Runs while more is to be sent than the caller takes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_clock(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None and self._running is not self.cycle:
            # The parent tells the request that came last; the one that is being answered stands before it.
            self._running.disconnected = True
            self._running.message_event.set()
        self._stop_clock()
        self._stop_send_clock()
        super().connection_lost(exc)
        self._tell_of_loss()

    def eof_received(self) -> None:
        """Half a close is a hang-up (record 14): what has been sent goes out, and whoever waits to send more need not.

        The connection ends by itself once that is out; a caller who takes none of it would be waited for until then.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self._tell_of_loss()
        self.flow.resume_writing()

    def _tell_of_loss(self) -> None:
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        self._stop_send_clock()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        was_open = self._message_open
        self._framing_bytes += len(data)
        self._feed(data)
        # The piece in which a head begins may hold the end of a body before it, so it is not counted: one read's worth.
        if was_open and self._message_open and self._framing_bytes > HEAD_BYTES_MAX:
            what = "head is" if self._head_open else "trailers are"
            self.send_400_response(f"The request's {what} over the limit of {HEAD_BYTES_MAX} bytes.")

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._plainly:
                # The parser takes what follows for another protocol, and leaves a body to be read as the next request.
                head, self._plainly = self._plainly, b""
                self.parser = httptools.HttpRequestParser(self)
                self._feed(head + data[upgrade.args[0] :])
            else:
                self.send_400_response("CONNECT is not spoken here.")
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        self._head_open = self._message_open = True
        self._let_in = False
        self._framing_bytes = 0
        self._start_clock(self.head_s)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is no header: who forwards requests vouches for what stands before the body, and for nothing after.
        if self._head_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= PIPELINE_MAX:
            # Raised through the parser, which reads no further: what is being answered is the last of this connection.
            raise OverflowError(f"more than {PIPELINE_MAX} requests wait behind the one that is being answered")
        self._head_open = False
        self._stop_clock()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._plainly = self._without_upgrade()
            return
        if isinstance(self.app, Door) and (make := self._call_of(self.app)) is not None:
            self._begin_call(self.app, make)
        else:
            super().on_headers_complete()
        self._let_in = True

    def _call_of(self, door: Door) -> Callable[..., Call] | None:
        if self.parser.get_method() != b"POST":
            return None
        if self.url == CALLS:
            return door.call
        path = unquote_to_bytes(httptools.parse_url(self.url).path or b"")
        return door.call if path == CALLS else door.chat if path == CHATS else None

    def _begin_call(self, door: Door, make: Callable[..., Call]) -> None:
        before = self.cycle
        chunks = self.parser.get_http_version() != "1.0"
        call = make(
            self,
            self.headers,
            keep_alive=chunks and self.parser.should_keep_alive(),
            awaits_continue=self.expect_100_continue,
            chunks=chunks,
        )
        self.cycle = cast(Any, call)
        if before is None or before.response_complete:
            self._start_asgi_task(call, door)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cast(Any, call), cast(Any, door)))

    @property
    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What every answer carries: the date, which the server writes anew each second."""
        return self.server_state.default_headers

    def _without_upgrade(self) -> bytes:
        """The head as if no other protocol were offered, which a server may ignore: Java's client always offers h2c."""
        kept = [header for header in self.headers if header[0] not in NOT_PASSED_ON]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            kept.append(CLOSE)
        version = self.parser.get_http_version().encode()
        lines = b"".join(b"%b: %b\r\n" % header for header in kept)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, lines)

    def _start_asgi_task(self, cycle: RequestResponseCycle | Call, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cast(Any, cycle), app)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        if isinstance(self.cycle, Call):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._message_open = False
        if self._plainly:
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._start_clock(self.rest_s)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._message_open and self.cycle.response_complete:
            self._start_clock(self.rest_s)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not a request, and close: where the next one would begin, nobody knows."""
        self._refuse(InvalidRequest(msg, code="invalid_body", headers=[CLOSE]))

    def _refuse(self, error: GatewayError) -> None:
        self._refused = True
        self._stop_clock()
        cycle, running = self.cycle, self._running
        if running is not None and running is not cycle and not running.response_complete:
            # What broke off stands behind one that is being answered: that is the last, and what waited between may ask
            # again elsewhere. None of it has begun.
            running.keep_alive = False
            self.pipeline.clear()
            return
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            # A whole request is being answered, and its answer may not be broken into: the connection ends with it.
            cycle.keep_alive = False
            return
        if cycle is not None and self._let_in and self._message_open:
            # The body of a request that was let in broke off: it gets one answer, from here or from where it went.
            if cycle.response_started:
                self.loop.call_later(LINGER_S, self.transport.close)
                return
            cycle.disconnected = True
            cycle.message_event.set()
        request_id = "req_" + ulid(time.time_ns() // 1_000_000, secrets.randbits(CHANCE_BITS))
        status, headers, body = render(error, request_id)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        reason = b"Request Timeout" if status == BodyTimeout.status else b"Bad Request"
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, reason, lines, body))
        self.loop.call_later(LINGER_S, self.transport.close)

    def _start_clock(self, wait_s: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(wait_s, self._late)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        self._clock = None
        if self._head_open:
            self._refuse(BodyTimeout(f"The request's head did not arrive within {self.head_s:g} s.", headers=[CLOSE]))
        else:
            self.transport.close()

    def _wait_for_reader(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._send_clock = self.loop.call_later(self.send_s, self._look_at_reader, unsent)

    def _look_at_reader(self, unsent_before: int) -> None:
        if self.transport.get_write_buffer_size() < unsent_before:
            self._wait_for_reader()
        else:
            self.transport.abort()

    def _stop_send_clock(self) -> None:
        if self._send_clock is not None:
            self._send_clock.cancel()
            self._send_clock = None
