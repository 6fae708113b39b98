"""The lease by which replicas on one PostgreSQL know of each other, and the sweeper that ends what the dead left open.

A node renews its lease every RENEW_S, by the database's own clock. One whose lease is LEASE_S old, or that has begun a
newer incarnation, has died: its open charges are orphaned, and GRACE_S later released to their callers, their estimated
cost booked to `crash_loss`. Between the two a late owner may still settle. All of it fits into a minute.

Renewing waits for nothing else of this node: it has a task and a connection of its own, beside the writer's queue and
the readers' lists. So does looking for the dead.

Every node sweeps: each end is a compare-and-set, so it happens once. A node that has not renewed in time itself (the
database was away, and everybody's lease looks old) sweeps nothing until the others have had time to renew theirs, and
believes no look that lasted longer than its own renewal is fresh. It never judges itself.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg

from faregate.core.errors import GatewayError, NotReady
from faregate.store import postgres, sweep
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers, unavailable
from faregate.store.sweep import Open, Swept

RENEW_S: Final = 5
LEASE_S: Final = 30
GRACE_S: Final = 10
SETTLED_IN_S: Final = 12
"""How long a node must have renewed without a gap before it calls others dead: two renewals of theirs and some."""
LOOK_MS: Final = 3_000
"""How long a look for the dead may take: while a renewal is fresh, and some."""

_NOW: Final = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint"
_RENEW: Final = f"UPDATE node SET seen_at = {_NOW} WHERE name = %s AND incarnation = %s"  # noqa: S608 - constants
_DEAD: Final = f"""
SELECT c.wallet_id, c.id, c.key_id, c.estimated, c.state FROM charge c LEFT JOIN node n ON n.name = c.node
WHERE c.settled_at IS NULL AND c.tier = 'standard' AND NOT (c.node = ? AND c.incarnation = ?)
  AND (n.name IS NULL OR c.incarnation < n.incarnation OR n.seen_at < {_NOW} - {LEASE_S * 1_000})
ORDER BY c.wallet_id, c.id LIMIT {sweep.SWEEP_MAX}
"""  # noqa: S608 - constants


class Lease:
    """One node's own, and its watch over the others'."""

    def __init__(
        self,
        renewer: "Renewer",
        readers: Readers,
        writer: Writer,
        *,
        node: str,
        incarnation: int,
        now_ms: Callable[[], int],
        swept: Callable[[Swept], None],
        clock: Callable[[], int] = lambda: int(time.monotonic()),
    ) -> None:
        """`renewer` and `readers` are the lease's own; `clock` is in seconds, and never jumps."""
        self._renewer = renewer
        self._readers = readers
        self._writer = writer
        self._owner = (node, incarnation)
        self._now_ms = now_ms
        self._swept = swept
        self._clock = clock
        self._renewed = clock()
        """When the last renewal was told; before the first, when the node began."""
        self._steady_since: int | None = None
        """Since when there was no gap between renewals; None before the first, and after one that failed."""
        self._orphaned: dict[str, int] = {}
        """Charges whose owner we take for dead, and since when we know."""
        self.lost = False
        """Whether another process has taken this node's name: what we held is no longer ours."""

    @property
    def lapsed(self) -> bool:
        """Whether the last renewal is so long ago that the others may have given back what we hold."""
        return self._clock() - self._renewed >= LEASE_S

    async def keep(self) -> None:
        """Renew until cancelled."""
        await _every_so_often(self.renew)

    async def watch(self) -> None:
        """Sweep until cancelled."""
        await _every_so_often(self.sweep)

    async def close(self) -> None:
        """Close what is the lease's own."""
        await self._renewer.close()
        await self._readers.close()

    async def renew(self) -> None:
        """Raises NotReady; then a gap has begun."""
        now = self._clock()
        try:
            ours = await self._renewer.renew(self._owner)
        except NotReady:
            self._steady_since = None
            raise
        if not ours:
            self.lost = True
            return
        if self._steady_since is None or now - self._renewed > 2 * RENEW_S:
            self._steady_since = now
        self._renewed = now

    async def sweep(self) -> None:
        """One look at the others, and what follows from it. Raises GatewayError."""
        if not self.may_judge():
            return
        dead = await self._readers.scan(lambda connection: _dead(connection, self._owner))
        if not self.may_judge():
            return
        now = self._clock()
        seen = {charge.id: self._orphaned.get(charge.id, now) for charge in dead}
        self._orphaned = seen
        fresh = [charge for charge in dead if not charge.orphaned]
        await sweep.orphan(self._writer, fresh)
        over = [charge for charge in dead if charge.orphaned and now - seen[charge.id] >= GRACE_S]
        swept = await sweep.release(self._writer, over, at_ms=self._now_ms())
        if swept.charges:
            self._swept(swept)

    def may_judge(self) -> bool:
        """Whether an old lease is a dead node's: not so while our own is old, or was a moment ago."""
        now = self._clock()
        steady = self._steady_since is not None and now - self._steady_since >= SETTLED_IN_S
        return steady and now - self._renewed < 2 * RENEW_S and not self.lost


class Renewer:
    """A connection for renewals alone: opened when it is needed, and again after it failed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def renew(self, owner: tuple[str, int]) -> bool:
        """Renew within RENEW_S, and say whether there is such a lease. Raises NotReady."""
        try:
            async with asyncio.timeout(RENEW_S):
                if self._connection is None:
                    self._connection = await psycopg.AsyncConnection.connect(
                        self._url, autocommit=True, **postgres.options(name="faregate lease")
                    )
                return (await self._connection.execute(_RENEW, owner)).rowcount == 1
        except (psycopg.Error, TimeoutError) as error:
            await self.close()
            raise unavailable(error) from error

    async def close(self) -> None:
        """Close the connection. Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


async def _every_so_often(step: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(GatewayError):  # Whatever it was: who stops renewing is taken for dead by the others.
            await step()
        await asyncio.sleep(RENEW_S)


def _dead(connection: Connection, owner: tuple[str, int]) -> list[Open]:
    return [Open.of(row) for row in connection.execute(_DEAD, owner)]
