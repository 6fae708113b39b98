"""The connections to one origin: last in, first out, bounded, and never more than one exchange on each.

One rule: open and opening connections together never exceed `connections_max`; whoever comes then waits its turn, and
not for longer than `wait_s`.

    take ──idle there──> that one                    released ──someone waits──> theirs
      └──room──> dial                                    └──room among the idle──> idle ──old──> closed
      └──full──> wait for a connection or for room       └──else──> closed

The last connection used is the one most likely to be alive, and the ones at the other end grow old and are closed.
"""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from faregate.upstreams.connection import Connection, Owner
from faregate.upstreams.origin import Origin
from faregate.upstreams.port import Fault, FaultKind

Dial = Callable[[Origin, Callable[[], Connection]], Awaitable[Connection]]

CLOSED: Final = "the transport is closed: the gateway is stopping"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections an origin gets."""

    connections_max: int = 1024
    """Open and opening together."""
    idle_max: int = 128
    """Kept for the next request."""
    idle_s: float = 50.0
    """A connection idle for longer is closed: load balancers commonly do it at 60 s, and we want to be first."""
    wait_s: float = 5.0
    """How long a request waits for its turn when all connections are taken."""
    race_s: float = 1.0
    """How soon a reused connection must have been closed on us to count as a lost keep-alive race (see transport)."""

    def __post_init__(self) -> None:
        if self.connections_max < 1:
            raise ValueError("limits.connections_max: must be at least 1")
        for field in ("idle_max", "idle_s", "wait_s", "race_s"):
            if getattr(self, field) < 0:
                raise ValueError(f"limits.{field}: must not be negative")


class Pool(Owner):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, dial: Dial, limits: Limits, connect_s: float
    ) -> None:
        self.origin = origin
        self._loop = loop
        self._dial = dial
        self._limits = limits
        self._connect_s = connect_s
        self._open: set[Connection] = set()
        self._idle: collections.deque[Connection] = collections.deque()
        self._dialling: set[asyncio.Timeout] = set()
        self._waiting: collections.deque[asyncio.Future[Connection | None]] = collections.deque()
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """Connections open and opening."""
        return len(self._open) + len(self._dialling)

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take_idle(self) -> Connection | None:
        """The connection used last, if one is idle; nothing is waited for."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def take(self) -> Connection:
        """An idle connection, a fresh one, or one's turn. Raises Fault(CONNECT)."""
        until = self._loop.time() + self._limits.wait_s
        while True:
            self._refuse_when_closed()
            connection = self.take_idle()
            if connection is None and self.size >= self._limits.connections_max:
                connection = await self._turn(until)
            elif connection is None:
                return await self._fresh()
            if connection is not None and connection.usable:
                return connection

    async def take_fresh(self) -> Connection:
        """One that no exchange has gone through. Raises Fault(CONNECT)."""
        until = self._loop.time() + self._limits.wait_s
        while True:
            self._refuse_when_closed()
            if self.size < self._limits.connections_max:
                return await self._fresh()
            spare = self.take_idle() or await self._turn(until)
            if spare is not None:
                # It makes room when it has closed, and its loss is what wakes whoever waits.
                spare.hang_up()

    async def _fresh(self) -> Connection:
        seconds = self._connect_s
        deadline = asyncio.timeout(seconds)
        self._dialling.add(deadline)
        try:
            async with deadline:
                connection = await self._dial(self.origin, lambda: Connection(self._loop, self, self.origin.target))
                if not connection.usable:
                    raise Fault(FaultKind.CONNECT, f"{self.origin.target} closed the connection as soon as it was open")
                self._open.add(connection)
        except TimeoutError:
            self._refuse_when_closed()
            raise Fault(
                FaultKind.CONNECT, f"no connection to {self.origin.target} within {seconds:g} s (timeouts.connect)"
            ) from None
        finally:
            self._dialling.discard(deadline)
            self._room()
        if self._closed:
            connection.hang_up()
            self._refuse_when_closed()
        return connection

    async def _turn(self, until: float) -> Connection | None:
        """Wait for a connection to be handed over, or for room (None)."""
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(until):
                return await turn
        except TimeoutError:
            self._give_back(turn)
            limits = self._limits
            raise Fault(
                FaultKind.CONNECT,
                f"all {limits.connections_max} connections to {self.origin.target} (limits.connections_max) stayed busy"
                f" for {limits.wait_s:g} s (limits.wait_s)",
            ) from None
        except asyncio.CancelledError:
            self._give_back(turn)
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def _give_back(self, turn: "asyncio.Future[Connection | None]") -> None:
        """A turn that came as its owner left goes to the next."""
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            connection = turn.result()
            if connection is not None and connection.usable:
                self.released(connection)
            else:
                self._room()

    def _room(self) -> None:
        """A place has become free: whoever waited longest may dial."""
        if self._emptied is not None and not self.size and not self._emptied.done():
            self._emptied.set_result(None)
        while self._waiting and self.size < self._limits.connections_max:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Fault(FaultKind.CANCELLED, CLOSED)

    # What connections tell us.

    def released(self, connection: Connection) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if self._closed or len(self._idle) >= self._limits.idle_max:
            connection.hang_up()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._room()

    # What the transport asks.

    def tick(self, now: float) -> None:
        """Close what is overdue: answers past a deadline, connections idle for too long."""
        for connection in self._busy():
            reply = connection.reply
            overdue = reply.overdue(now) if reply is not None else None
            if overdue is not None:
                connection.fail(FaultKind.TIMEOUT, overdue)
        while self._idle and now - self._idle[0].idle_since >= self._limits.idle_s:
            self._idle.popleft().hang_up()

    def _busy(self) -> Iterable[Connection]:
        return [connection for connection in self._open if connection.reply is not None]

    async def aclose(self) -> None:
        """Close every connection, end every exchange with Fault(CANCELLED), and wait until no socket is left."""
        self._closed = True
        for deadline in self._dialling:
            deadline.reschedule(self._loop.time())
        for connection in list(self._open):
            connection.fail(FaultKind.CANCELLED, CLOSED)
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(Fault(FaultKind.CANCELLED, CLOSED))
        if self.size:
            self._emptied = self._loop.create_future()
            await self._emptied
