"""The door of the data plane: a raw ASGI app. POST /v1/messages goes straight to the story; the rest to the API.

No framework and no middleware stands around the stream: a route match, a dictionary of headers, and `serve`.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from faregate.core.errors import BodyTimeout, BodyTooLarge, GatewayError, NotReady, UnsupportedMedia
from faregate.edge.errors import envelope, render
from faregate.proxy.port import Gateway, Headers
from faregate.proxy.story import serve
from faregate.proxy.verdict import CallerGone
from faregate.wire import sse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LINE: Final = "faregate.line"
"""The name in the scope's state by which our own server tells of a hang-up: a callback, no task that waits for it."""

CLOSE: Final = (b"connection", b"close")
"""Sent where a body never came to its end. A body that is refused for what it is gets no such header: closing on bytes
that are still coming resets the connection, and the client would read that instead of our answer. The server throws
away what is left of it."""

CUT_OFF_S: Final = 1.0
"""For the last word to a caller whose call a stopping server has cancelled."""


class Line(Protocol):
    """A caller's connection, as far as the door knows it."""

    on_lost: Callable[[], None] | None
    """Called when the connection is lost."""
    lost: bool


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """What the door takes in."""

    body_bytes_max: int = 32 * 1024 * 1024
    body_timeout_s: float = 60.0
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Peers whose `x-forwarded-for` is believed; everybody else's is ignored."""


class Door:
    """The ASGI application."""

    def __init__(self, gate: Gateway, intake: Intake, api: App) -> None:
        self._gate = gate
        self._intake = intake
        self._api = api
        self.open_calls = 0
        """Calls to /v1/messages that are under way."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._stopping_since: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            assert scope["type"] == "websocket", "the server is run without lifespan events"
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["path"] == "/v1/messages" and scope["method"] == "POST":
            caller = AsgiCaller(scope, receive, send, self._intake, self._gate.new_id("req_"))
            self.open_calls += 1
            self._quiet.clear()
            try:
                await serve(self._gate, caller)
            except asyncio.CancelledError:
                # Only a server that waits no longer does this. By now the ledger knows; the caller is to know too.
                await caller.cut_off()
            finally:
                self.open_calls -= 1
                if not self.open_calls:
                    self._quiet.set()
        elif self._stopping_since is not None and scope["path"] == "/readyz":
            caller = AsgiCaller(scope, receive, send, self._intake, self._gate.new_id("req_"))
            await caller.refuse(NotReady("The gateway is stopping.", code="shutting_down"))
        else:
            await self._api(scope, receive, send)

    def stop(self) -> None:
        """From now on the gateway is not ready; what comes all the same is still served."""
        if self._stopping_since is None:
            self._stopping_since = asyncio.get_running_loop().time()

    @property
    def stopping_s(self) -> float:
        """For how long it has been stopping."""
        since = self._stopping_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    async def quiet(self) -> None:
        """Wait until no call is under way: each has then told the ledger how it ended."""
        await self._quiet.wait()


class AsgiCaller:
    """One request as `proxy.port.Caller` has it."""

    __slots__ = (
        "_callbacks", "_headers", "_intake", "_line", "_over", "_receive", "_send", "_started", "_unsent", "_watch",
        "address", "arrived", "gone", "request_id",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, intake: Intake, request_id: str) -> None:
        self.arrived = asyncio.get_running_loop().time()
        self.request_id = request_id
        self.gone = False
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        if b"anthropic-beta" in self._headers and len(self._headers) < len(scope["headers"]):
            # The one list among the headers that we read: several lines of it are one, and none of it is ours to drop.
            self._headers[b"anthropic-beta"] = b",".join(v for name, v in scope["headers"] if name == b"anthropic-beta")
        if b"idempotency-key" in self._headers and len(self._headers) < len(scope["headers"]):
            # Of two keys neither may be passed over: joined like this they are none, and refused where a key is judged.
            keys = [v for name, v in scope["headers"] if name == b"idempotency-key"]
            self._headers[b"idempotency-key"] = b"\n".join(keys)
        self.address = client_address(scope, self._headers, intake.trusted_proxies)
        self._receive = receive
        self._send = send
        self._intake = intake
        self._line: Line | None = scope.get("state", {}).get(LINE)
        self._callbacks: list[Callable[[], None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._started = False
        self._over = False
        self._unsent: list[Message] = []

    def header(self, name: bytes) -> str | None:
        value = self._headers.get(name)
        return value.decode("latin-1") if value is not None else None

    async def body(self) -> bytes:
        encoding = self.header(b"content-encoding")
        if encoding is not None and encoding.strip().lower() not in ("", "identity"):
            raise UnsupportedMedia(f"content-encoding: send the body as it is, not {encoding[:40]}.")
        coding = self.header(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            raise UnsupportedMedia(f"transfer-encoding: send the body chunked or with its length, not {coding[:40]}.")
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._intake.body_bytes_max:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._intake.body_timeout_s):
                return await self._whole_body()
        except TimeoutError:
            seconds = self._intake.body_timeout_s
            raise BodyTimeout(f"The request's body did not arrive within {seconds:g} s.", headers=[CLOSE]) from None

    async def _whole_body(self) -> bytes:
        pieces, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise CallerGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._intake.body_bytes_max:
                raise self._too_large()
            pieces.append(piece)
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request's body is over the limit of {self._intake.body_bytes_max} bytes.")

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self.gone:
            callback()
            return
        self._callbacks.append(callback)
        if self._line is not None:
            self._line.on_lost = self._left
            if self._line.lost:
                self._left()
        elif self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        if self._over:
            return  # The server says so too when the answer is complete.
        self.gone = True
        for callback in self._callbacks:
            callback()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        named = [*headers, (b"content-length", b"%d" % len(body)), (b"request-id", self.request_id.encode())]
        await self._finish(
            {"type": "http.response.start", "status": status, "headers": named},
            {"type": "http.response.body", "body": body},
        )

    async def start(self, headers: Headers) -> None:
        self._started = True
        named = [*headers, (b"cache-control", b"no-cache"), (b"request-id", self.request_id.encode())]
        await self._send({"type": "http.response.start", "status": 200, "headers": named})

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._finish({"type": "http.response.body", "body": data})

    async def cut_off(self) -> None:
        """Say that the gateway stops; a caller who has stopped reading is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_OFF_S):
                if self._over:  # The last word had been said, and billed if it was an answer: it stays the last.
                    await self._finish(*self._unsent)
                else:
                    await self.refuse(NotReady("The gateway is stopping. Ask again in a moment.", code="shutting_down"))

    async def _finish(self, *messages: Message) -> None:
        self._over = True
        self._unsent = list(messages)
        while self._unsent:
            await self._send(self._unsent[0])  # A server that is waited for here has not yet sent it.
            del self._unsent[0]

    async def refuse(self, error: GatewayError) -> None:
        if self._started:
            await self.end(sse.render(b"error", msgspec.json.encode(envelope(error, self.request_id))))
            return
        status, headers, body = render(error, self.request_id)
        await self._finish(
            {"type": "http.response.start", "status": status, "headers": headers},
            {"type": "http.response.body", "body": body},
        )


def client_address(
    scope: Scope,
    headers: dict[bytes, bytes],
    trusted: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> str:
    """The client's address: the socket's, or what trusted proxies say, read from the last hop to the first."""
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if not trusted or b"x-forwarded-for" not in headers:
        return address
    # A proxy may add a line of its own where another would append: together they are one list.
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop.strip() for hop in ",".join(lines).split(",")]
    while hops and _is_in(address, trusted):
        address = hops.pop()
    return address


def _is_in(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # What a listener on `::` calls an IPv4 peer.
    return any(ip in network for network in networks)
