"""The one HTTP client: sends a request whole, gives back its answer as it comes. HTTP/1.1, nothing else.

One rule: a request is written at most once, but for one case that is written down in `send`.

    reply = await transport.send(origin, head, body)    a Reply with its status and headers, or Fault
    piece = await reply.read()                          see port.Answer
    await transport.aclose()                            afterwards no socket, timer or task is left

    transport ── a Pool for each origin ── Connections ── one Reply each

It is the hot path of every call: no task per request, no coroutine per chunk, no timer per wait. One coarse ticker
looks at all busy connections, and it stops when there is none.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from faregate.upstreams import dial
from faregate.upstreams.connection import Connection
from faregate.upstreams.origin import Origin
from faregate.upstreams.pool import CLOSED, Limits, Pool
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import Reply, Timeouts

TICK_S_MAX: Final = 0.25
TICK_S_MIN: Final = 0.01


class Transport:
    """Belongs to the event loop that first sends through it."""

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        context: ssl.SSLContext | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
    ) -> None:
        """`context` replaces our own TLS context; `ca_file` adds authorities to it. `proxy` is `http://host:port`."""
        assert context is None or ca_file is None, "a context of one's own brings its own authorities"
        self.timeouts = timeouts or Timeouts()
        self._limits = limits or Limits()
        self._context = dial.trust(ca_file) if ca_file is not None else context
        self._proxy = dial.parse_proxy(proxy) if proxy is not None else None
        self._pools: dict[Origin, Pool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        waits = self.timeouts
        self._tick_s = min(
            TICK_S_MAX, max(TICK_S_MIN, min(waits.first_byte, waits.first_byte_plain, waits.idle, waits.total) / 4)
        )

    async def send(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        *,
        first_byte_s: float | None = None,
        on_wire: Callable[[], None] | None = None,
    ) -> Reply:
        """Send a body (of a GET it is empty) and wait for the head of the answer. `head` is of `origin.request_head`.
        Raises Fault.

        `on_wire` is called once there is a connection for it: before that nothing has left us.

        The one case of writing a request twice: it went out on a connection that had been used before, and the peer
        closed that connection at once (within `limits.race_s`) without a single byte of an answer. That is how a
        keep-alive connection looks whose end crossed our request on the wire: the peer had hung up before it read us.
        A fresh connection, a byte of an answer, or a later close means that the peer may have taken the request, and
        it may cost money a second time: that is a Fault, and the story decides in the open, where attempts are counted.
        """
        pool = self._pools.get(origin) or self._open(origin)
        request = b"".join((head, b"%d\r\n\r\n" % len(body), body))
        connection = pool.take_idle() or await pool.take()
        if on_wire is not None:
            on_wire()
        try:
            return await self._exchange(connection, request, first_byte_s)
        except _LostRaceError:
            return await self._exchange(await pool.take_fresh(), request, first_byte_s)

    async def _exchange(self, connection: Connection, request: bytes, first_byte_s: float | None) -> Reply:
        reused = connection.reused
        timeouts = self.timeouts
        reply = connection.start(request, timeouts, first_byte_s or timeouts.first_byte)
        if self._timer is None:
            self._tick()
        try:
            await reply.head()
        except Fault as fault:
            raced = reused and fault.kind is FaultKind.RESET and not reply.pieces
            if raced and reply.age(asyncio.get_running_loop().time()) < self._limits.race_s:
                raise _LostRaceError from fault
            raise
        except asyncio.CancelledError:
            reply.cancel()
            raise
        return reply

    def _open(self, origin: Origin) -> Pool:
        if self._closed:
            raise Fault(FaultKind.CANCELLED, CLOSED)
        pool = Pool(asyncio.get_running_loop(), origin, self._dial, self._limits, self.timeouts.connect)
        self._pools[origin] = pool
        return pool

    async def _dial(self, origin: Origin, make: Callable[[], Connection]) -> Connection:
        if origin.secure and self._context is None:
            # Reading the system's authorities takes milliseconds: only who needs TLS pays for it, once.
            self._context = dial.trust()
        return await dial.dial(origin, make, context=self._context if origin.secure else None, proxy=self._proxy)

    def _tick(self) -> None:
        """Look at every deadline, and come back while there is a connection to look after."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for pool in self._pools.values():
            pool.tick(now)
        if any(pool.size for pool in self._pools.values()):
            self._timer = loop.call_later(self._tick_s, self._tick)
        else:
            self._timer = None

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Connections by origin, (open, idle), for the metrics."""
        return {pool.origin.target: (pool.size, pool.idle) for pool in self._pools.values()}

    async def aclose(self) -> None:
        """Close everything; exchanges under way end with Fault(CANCELLED). Safe to repeat."""
        self._closed = True
        pools = list(self._pools.values())
        await asyncio.gather(*(pool.aclose() for pool in pools))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _LostRaceError(Exception):
    """The keep-alive of a reused connection ended as we wrote to it."""
