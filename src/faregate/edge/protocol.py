"""HTTP as it comes in: uvicorn's own protocol, with a bound on heads and our envelope for what is not HTTP.

The rule: nobody needs a key to reach this, so nothing here may grow with what a stranger sends. uvicorn bounds no head;
here one that is still open after HEAD_BYTES_MAX is refused, and its connection closed.
"""

import secrets
import time
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from faregate.core.errors import InvalidRequest
from faregate.core.ids import CHANCE_BITS, ulid
from faregate.edge.asgi import CLOSE
from faregate.edge.errors import render

HEAD_BYTES_MAX: Final = 64 * 1024
"""Twice what nginx takes with its defaults, and many times what an SDK with all of its betas sends."""


LINGER_S: Final = 1.0
"""For a refused sender to read why: closing on bytes that are still coming would reset the connection instead."""


class Protocol(HttpToolsProtocol):
    """One connection from a caller."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_open = False
        self._head_bytes = 0
        self._refused = False

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        was_open = self._head_open
        super().data_received(data)
        # The piece in which a head begins may hold the end of a body before it, so it is not counted: one read's worth.
        if was_open and self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.send_400_response(f"The request's head is over the limit of {HEAD_BYTES_MAX} bytes.")

    def on_message_begin(self) -> None:
        self._head_open, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not a request, and close: where the next one would begin, nobody knows."""
        self._refused = True
        request_id = "req_" + ulid(time.time_ns() // 1_000_000, secrets.randbits(CHANCE_BITS))
        status, headers, body = render(InvalidRequest(msg, code="invalid_body", headers=[CLOSE]), request_id)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d Bad Request\r\n%b\r\n%b" % (status, lines, body))
        self.loop.call_later(LINGER_S, self.transport.close)
