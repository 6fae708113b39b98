"""The door of the data plane. POST /v1/messages goes straight to the story, as a Call, and POST /v1/chat/completions as
a ChatCall; the rest to the API, as ASGI.

No framework and no middleware stands around a call: its connection (edge.protocol) makes it and hands it to `serve`.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from faregate.core.errors import NotReady
from faregate.edge.call import Call, Line
from faregate.edge.chat import ChatCall
from faregate.edge.errors import render
from faregate.edge.intake import Intake, client_address, fields
from faregate.proxy.port import Gateway
from faregate.proxy.ride import Ride
from faregate.proxy.story import serve
from faregate.proxy.verdict import CallerGone

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


CALLS_MAX: Final = 10_000
BUSY_S: Final = 1.0
"""When one that was refused for that may ask again."""


class Door:
    """The ASGI application, and where calls go that need none."""

    def __init__(self, gate: Gateway, intake: Intake, api: App, *, calls_max: int = CALLS_MAX) -> None:
        self._gate = gate
        self._calls_max = calls_max
        self._intake = intake
        self._api = api
        self.open_calls = 0
        """Calls that are under way."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._stopping_since: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            assert scope["type"] == "websocket", "the server is run without lifespan events"
            await send({"type": "websocket.close", "code": 1000})
        elif self._stopping_since is not None and scope["path"] == "/readyz":
            stopping = NotReady("The gateway is stopping.", code="shutting_down")
            status, headers, body = render(stopping, self._gate.new_id("req_"))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await self._api(scope, receive, send)

    def call(self, line: Line, headers: Sequence[tuple[bytes, bytes]], **of_its_head: bool) -> Call:
        """A call whose head has come on this connection; `serve` it."""
        return Call(line, headers, self._intake, self._gate.new_id("req_"), **of_its_head)

    def chat(self, line: Line, headers: Sequence[tuple[bytes, bytes]], **of_its_head: bool) -> ChatCall:
        """The same, spoken as OpenAI's API is."""
        call = ChatCall(line, headers, self._intake, self._gate.new_id("req_"), **of_its_head)
        call.catalog = self._gate.catalog
        return call

    async def serve(self, call: Call) -> None:
        """Serve a call to its end, whatever that is; one that is too many is refused before anything is read of it."""
        if self.open_calls >= self._calls_max:
            await self._refuse(call)
            return
        self.open_calls += 1
        self._quiet.clear()
        try:
            await serve(self._gate, call)
        except asyncio.CancelledError:
            # Only a server that waits no longer does this. By now the ledger knows; the caller is to know too.
            await call.cut_off()
        finally:
            self.open_calls -= 1
            if not self.open_calls:
                self._quiet.set()

    async def _refuse(self, call: Call) -> None:
        busy = NotReady(
            f"As many calls are under way as this gateway takes at once, {self._calls_max}. Ask again in a moment.",
            code="busy",
            retry_after_s=BUSY_S,
        )
        ride = Ride(caller=call)
        ride.refused(busy)
        await call.refuse(busy)
        self._gate.observer.finished(ride.record())

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
    """One request to the API, as `proxy.port.Asker` has it."""

    __slots__ = ("_fields", "_intake", "_receive", "address", "request_id")

    def __init__(self, scope: Scope, receive: Receive, intake: Intake, request_id: str) -> None:
        self.request_id = request_id
        self.address = client_address(scope.get("client"), scope["headers"], intake.trusted_proxies)
        self._fields = fields(scope["headers"])
        self._receive = receive
        self._intake = intake

    def header(self, name: bytes) -> str | None:
        value = self._fields.get(name)
        return value.decode("latin-1") if value is not None else None

    async def body(self) -> bytes:
        self._intake.judge_head(self._fields)
        try:
            async with asyncio.timeout(self._intake.body_timeout_s):
                return await self._whole_body()
        except TimeoutError:
            raise self._intake.too_late() from None

    async def _whole_body(self) -> bytes:
        pieces, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise CallerGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._intake.body_bytes_max:
                raise self._intake.too_large()
            pieces.append(piece)
            if not message.get("more_body"):
                return b"".join(pieces)
