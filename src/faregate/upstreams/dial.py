"""Opening a connection: name lookup, TCP, the egress proxy's CONNECT, TLS with SNI and host name checked.

One rule: whatever goes wrong here is a Fault that says nothing was sent, so it is always safe to ask again.

    origin ── TCP ──────────────────────────── TLS (https) ──> Connection
         └─── TCP to proxy ── CONNECT ── 2xx ──┘

Through a proxy even http:// origins go by CONNECT: one road, and the proxy never sees a request.
"""

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import unquote, urlsplit

import msgspec

from faregate.upstreams.connection import HEAD_BYTES_MAX, Connection
from faregate.upstreams.origin import Origin
from faregate.upstreams.port import Fault, FaultKind

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")


class Proxy(msgspec.Struct, frozen=True):
    """An egress proxy that takes CONNECT."""

    host: str
    port: int
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


def parse_proxy(url: str) -> Proxy:
    """Read `http://[user:password@]host:port`. Raises ValueError with a sentence that does not repeat it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"proxy: {error}") from None
    if parts.scheme != "http" or not parts.hostname or port is None or parts.path.strip("/") or parts.query:
        raise ValueError("proxy: must read http://host:port, with user:password@ before the host where it wants one")
    if re.search(r"[^\x21-\x7e]", url):
        raise ValueError("proxy: has a space, a control or a letter outside ASCII; write it percent-encoded")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, port, authorization)


def trust(ca_file: str | None = None) -> ssl.SSLContext:
    """The TLS context: certificates and host names are checked against the system's authorities, and against those of
    `ca_file` beside them; TLS 1.2 at least, which some builds of Python leave to the system's configuration.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(
    origin: Origin, make: Callable[[], Connection], *, context: ssl.SSLContext | None, proxy: Proxy | None
) -> Connection:
    """Open a connection; how long that may take is the caller's to say.

    Raises Fault(CONNECT), or Fault(PROTOCOL) when a proxy talks nonsense.
    """
    try:
        if proxy is not None:
            return await _dial_through(proxy, origin, make, context)
        transport, connection = await asyncio.get_running_loop().create_connection(
            make, origin.host, origin.port, ssl=context, server_hostname=origin.host if context else None
        )
    except ssl.SSLCertVerificationError as error:
        raise Fault(
            FaultKind.CONNECT, f"{origin.target} is not whom its certificate says: {error.verify_message}"
        ) from None
    except (OSError, ssl.SSLError, UnicodeError) as error:
        raise Fault(FaultKind.CONNECT, f"cannot connect to {origin.target}: {error}") from None
    _keep_alive(transport)
    return connection


async def _dial_through(
    proxy: Proxy, origin: Origin, make: Callable[[], Connection], context: ssl.SSLContext | None
) -> Connection:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    try:
        transport, _ = await loop.create_connection(lambda: _Tunnel(proxy, origin, opened), proxy.host, proxy.port)
    except OSError as error:
        raise Fault(FaultKind.CONNECT, f"cannot connect to the proxy {proxy.host}:{proxy.port}: {error}") from None
    try:
        await opened
        _keep_alive(transport)
        connection = make()
        if context is None:
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return connection
        secured = await loop.start_tls(transport, connection, context, server_hostname=origin.host)
        # None when the peer left within the handshake: a connection that was never made is one the pool refuses.
        if secured is not None:
            connection.connection_made(secured)
    except BaseException:
        transport.abort()
        raise
    return connection


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    """A peer that vanished without a word is noticed by the kernel, not by the idle deadline alone."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class _Tunnel(asyncio.Protocol):
    """Speaks CONNECT on a fresh connection to the proxy, then hands the transport over."""

    def __init__(self, proxy: Proxy, origin: Origin, opened: "asyncio.Future[None]") -> None:
        self._name = f"the proxy {proxy.host}:{proxy.port}"
        self._origin = origin
        self._opened = opened
        self._head = b""
        lines = [f"CONNECT {origin.target} HTTP/1.1", f"host: {origin.target}"]
        if proxy.authorization is not None:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > HEAD_BYTES_MAX:
                self._fail(FaultKind.PROTOCOL, f"sent more than {HEAD_BYTES_MAX} bytes of head")
            return
        line = _STATUS_LINE.match(self._head)
        if line is None:
            self._fail(FaultKind.PROTOCOL, "answered CONNECT with what is not HTTP/1.1")
        elif not line[1].startswith(b"2"):
            hint = " (it wants user:password@ in its setting)" if line[1] == b"407" else ""
            self._fail(FaultKind.CONNECT, f"refused to connect to {self._origin.target} with {line[1].decode()}{hint}")
        elif len(self._head) > end + 4:
            self._fail(FaultKind.PROTOCOL, "sent bytes of its own into the tunnel")
        elif not self._opened.done():
            self._opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(FaultKind.CONNECT, f"closed the connection before it answered CONNECT{f': {exc}' if exc else ''}")

    def _fail(self, kind: FaultKind, message: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(Fault(kind, f"{self._name} {message}"))
