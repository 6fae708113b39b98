"""What other replicas tell us through the database: a key was revoked, a price was added.

While we listen, what this process remembers of keys and prices can be trusted. When the connection is lost it cannot:
keys are looked up and prices read anew until we listen again, and then all that was remembered is forgotten.

The connection also holds the node's name, by an advisory lock: it goes with the process, however that ends. A start
waits for the name. A listener that comes back does not: its own old session may hold it for a while.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg

from faregate.core.errors import NotReady
from faregate.core.place import Postgres
from faregate.store import postgres
from faregate.store.database import StoreRefused

CHANNEL: Final = "faregate"
ALIVE_S: Final = 5.0
"""How often a connection is asked whether it is there, and for the name."""
NAME_S: Final = 10.0
"""How long a name may still be held by a process that has just died."""
PAUSE_S: Final = 0.2

_TAKE_NAME: Final = "SELECT pg_try_advisory_lock(hashtext('faregate node'), hashtext(%s))"

Heard = Callable[[str], Awaitable[None]]
Trust = Callable[[bool], None]


class Listener:
    """One connection that listens, for as long as the store is open."""

    def __init__(self, place: Postgres, *, node: str | None) -> None:
        self._place = place
        self._node = node
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def connect(self) -> None:
        """Connect, and begin to listen. Raises psycopg.Error."""
        connection = await psycopg.AsyncConnection.connect(
            self._place.url, autocommit=True, **postgres.options(name="faregate listener")
        )
        self._connection = connection
        await connection.execute(f"LISTEN {CHANNEL}")

    async def take_name(self) -> None:
        """Take the node's name, if there is one. Raises psycopg.Error; StoreRefused when another process has it."""
        until = time.monotonic() + NAME_S
        while not await self._has_name():
            if time.monotonic() >= until:
                raise StoreRefused(
                    f"A gateway with the name {self._node} is running on {self._place} already. Stop it, or give this "
                    "one another name with FAREGATE_SERVER_NODE."
                )
            await asyncio.sleep(PAUSE_S)

    async def _has_name(self) -> bool:
        """Whether the name is ours; it is taken where it can be. Who has it may ask again."""
        assert self._connection is not None
        if self._node is None:
            await self._connection.execute("SELECT 1")
            return True
        row = await (await self._connection.execute(_TAKE_NAME, (self._node,))).fetchone()
        return row is not None and bool(row[0])

    async def listen(self, heard: Heard, trust: Trust) -> None:
        """Pass on what is heard, until cancelled. `heard` gets "" for "whatever it was, look anew"."""
        while True:
            try:
                if self._connection is None:
                    await self.connect()
                await heard("")
                trust(True)
                await self._pass_on(heard)
            except (psycopg.Error, NotReady, TimeoutError):
                pass  # Whatever it was, nobody tells us anything until we listen again.
            finally:
                trust(False)
                await self.close()
            await asyncio.sleep(PAUSE_S)

    async def _pass_on(self, heard: Heard) -> None:
        connection = self._connection
        assert connection is not None
        while True:
            async with asyncio.timeout(ALIVE_S):
                await self._has_name()
            async for notice in connection.notifies(timeout=ALIVE_S):
                await heard(notice.payload)

    async def close(self) -> None:
        """Close the connection. Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()
