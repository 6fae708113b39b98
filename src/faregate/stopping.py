"""How the gateway stops: what has begun may end, what has not ended is free, and nobody waits without a bound.

    serving ──signal──> draining ──the last call has ended──────────────────> stopped
                           └──server.drain_s, or a second signal──> cut off ────┘

While it drains nothing is accepted and idle connections are closed; a call that is cut off gets its last word (a 503,
or one `event: error`), its money back, and its upstream hears of it.
"""

import asyncio
import contextlib
import math
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final, cast

import structlog
import uvicorn

from faregate.edge.accept import Acceptor
from faregate.edge.asgi import App, Door
from faregate.edge.protocol import Protocol
from faregate.proxy.drain import Drains

_STOPPING: Final = "stopping when the calls under way have ended; a second Ctrl-C cuts them off, free of charge"
_CUTTING: Final = "the calls under way are cut off, free of charge"
_LATE: Final = "the calls under way have not ended within server.drain_s and are cut off, free of charge"

CUT_S: Final = 5.0
"""For calls that are cut off to be told so and to tell the ledger, before the server ends without them."""

KEEP_ALIVE_S: Final = 75
"""Longer than the idle connections of the SDKs' pools, so that it is the client who closes."""


class Server(uvicorn.Server):
    """One door. Signals are the app's, not uvicorn's: there are several doors and one Ctrl-C."""

    def __init__(self, app: App, listener: socket.socket, *, drain_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(drain_s + CUT_S),
            )
        )
        self._listener = listener

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self.servers = [cast(asyncio.Server, Acceptor(self._listener, self._protocol))]

    def _protocol(self) -> asyncio.Protocol:
        return Protocol(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            # uvicorn leaves them running, and the gateway would wait for each to tell the ledger how it ended.
            for task in self.server_state.tasks:
                task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def until_signalled(servers: list[Server], door: Door, *drains: Drains, drain_s: float) -> Iterator[None]:
    """Heed SIGINT and SIGTERM: the first lets calls end for `drain_s`, and says so where there are any."""
    loop = asyncio.get_running_loop()
    log = structlog.get_logger()
    deadlines: list[asyncio.TimerHandle] = []

    def under_way() -> int:
        return door.open_calls + sum(map(len, drains))

    def stop() -> None:
        if deadlines:
            cut(log.info, _CUTTING)
            return
        deadlines.append(loop.call_later(drain_s, cut, log.warning, _LATE))
        door.stop()
        if under_way():
            log.info(_STOPPING, calls=under_way())
        for server in servers:
            server.should_exit = True

    def cut(say: Callable[..., None], what: str) -> None:
        if under_way():
            say(what, calls=under_way())
        for those in drains:
            those.cut()
        for server in servers:
            server.force_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        for deadline in deadlines:
            deadline.cancel()
