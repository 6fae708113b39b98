"""A simulated caller: sends one call, reads its answer in its own time, hangs up when it likes, and keeps notes.

The rule: what is noted was seen. After the caller has left, or the gateway has died, nothing more is.
"""

import asyncio
from collections.abc import Callable

from faregate.core.errors import BodyTimeout, GatewayError
from faregate.proxy.port import Headers
from faregate.proxy.verdict import CallerGone
from tests.simulation.calls import Call

BODY_S = 60.0
SEND_S = 60.0
"""After so long without reading, a caller is taken for gone, as the door does."""


class Note:
    """What one caller saw of its one call."""

    def __init__(self, call: Call, sent_at: float) -> None:
        self.call = call
        self.sent_at = sent_at
        self.left_at: float | None = None
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.received: list[bytes] = []
        self.ended = False
        """Whether the last byte of a good answer was seen."""
        self.error: GatewayError | None = None
        self.over_at: float | None = None
        self.cut = False
        """Whether the gateway died before it had ended this call."""
        self.served = 0
        """How often the observer was told that this call is over."""

    @property
    def body(self) -> bytes:
        return b"".join(self.received)


class SimCaller:
    """Implements proxy.port.Caller."""

    address = "192.0.2.7"

    def __init__(self, note: Note, loop: asyncio.AbstractEventLoop) -> None:
        call = note.call
        self.request_id = f"req_{call.number}"
        self.arrived = loop.time()
        self.gone = False
        self._note = note
        self._loop = loop
        self._headers = {b"x-api-key": call.secret, **call.headers}
        self._callbacks: list[Callable[[], None]] = []
        self._left = asyncio.Event()
        self._sends = 0
        self._behind = False
        self.timer = loop.call_later(call.leaves_at, self.leave) if call.leaves == "at" else None

    def header(self, name: bytes) -> str | None:
        return self._headers.get(name)

    async def body(self) -> bytes:
        call = self._note.call
        if call.leaves == "body":
            self.leave()
        if call.body_s:
            await self._pass(min(call.body_s, BODY_S))
        if self.gone:
            raise CallerGone
        if call.body_s > BODY_S:
            raise BodyTimeout("The request's body did not arrive within 60 s.")
        return call.body

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self.gone:
            callback()
        else:
            self._callbacks.append(callback)

    def leave(self) -> None:
        """Hang up. After the last word that is nobody's business."""
        if not self.gone and self._note.over_at is None:
            self.gone = True
            self._note.left_at = self._loop.time()
            self._left.set()
            for callback in self._callbacks:
                callback()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        if self._note.call.leaves == "end":
            self.leave()
        self._start(status, headers)
        self._take(body)
        self._over(ended=True)

    async def start(self, headers: Headers) -> None:
        self._start(200, headers)

    def send(self, data: bytes) -> None:
        call, self._sends = self._note.call, self._sends + 1
        self._take(data)
        if call.leaves == "send" and self._sends > call.leaves_at:
            self._loop.call_soon(self.leave)
        self._behind = bool(self._stalls or call.pace_s)

    @property
    def keeps_up(self) -> bool:
        return not self._behind

    async def drain(self) -> None:
        if not self._behind:
            return
        if self._stalls:
            await self._pass(SEND_S)
            self.leave()
        else:
            await self._pass(self._note.call.pace_s)
        self._behind = False

    @property
    def _stalls(self) -> bool:
        stalls_at = self._note.call.stalls_at
        return stalls_at is not None and self._sends > stalls_at

    async def end(self, data: bytes) -> None:
        if self._note.call.leaves == "end":
            self.leave()
        self._take(data)
        self._over(ended=True)

    async def refuse(self, error: GatewayError) -> None:
        if not self.gone and self._note.over_at is None:
            self._note.error = error
            self._note.status = self._note.status or error.status
        self._over(ended=False)

    def _start(self, status: int, headers: Headers) -> None:
        if not self.gone and self._note.over_at is None:
            self._note.status, self._note.headers = status, dict(headers)

    def _take(self, data: bytes) -> None:
        if not self.gone and self._note.over_at is None:
            self._note.received.append(data)

    def _over(self, *, ended: bool) -> None:
        if not self.gone and self._note.over_at is None:
            self._note.over_at = self._loop.time()
            self._note.ended = ended
        if self.timer is not None:
            self.timer.cancel()

    async def _pass(self, seconds: float) -> None:
        """Let time pass, unless the caller leaves meanwhile."""
        timer = self._loop.call_later(seconds, self._left.set)
        try:
            await self._left.wait()
        finally:
            timer.cancel()
        if not self.gone:
            self._left.clear()
