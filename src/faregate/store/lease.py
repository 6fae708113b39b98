"""The lease by which replicas on one PostgreSQL know of each other, and the sweeper that ends what the dead left open.

A node renews its lease every RENEW_S, by the database's own clock. One whose lease is LEASE_S old, or that has begun a
newer incarnation, has died: its open charges are orphaned, and GRACE_S later released to their callers, their estimated
cost booked to `crash_loss`. Between the two a late owner may still settle. All of it fits into a minute.

Every node sweeps: each end is a compare-and-set, so it happens once. A node that has not renewed in time itself (the
database was away, and everybody's lease looks old) sweeps nothing until the others have had time to renew theirs.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from faregate.core.errors import GatewayError
from faregate.store import sweep
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers
from faregate.store.sweep import Open, Swept

RENEW_S: Final = 5
LEASE_S: Final = 30
GRACE_S: Final = 10
SETTLED_IN_S: Final = 12
"""How long a node must have renewed without a gap before it calls others dead: two renewals of theirs and some."""

_NOW: Final = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint"
_RENEW: Final = f"UPDATE node SET seen_at = {_NOW} WHERE name = ? AND incarnation = ?"  # noqa: S608 - constants
_DEAD: Final = f"""
SELECT c.wallet_id, c.id, c.key_id, c.estimated, c.state FROM charge c LEFT JOIN node n ON n.name = c.node
WHERE c.settled_at IS NULL
  AND (n.name IS NULL OR c.incarnation < n.incarnation OR n.seen_at < {_NOW} - {LEASE_S * 1_000})
ORDER BY c.wallet_id, c.id LIMIT {sweep.SWEEP_MAX}
"""  # noqa: S608 - constants


class Lease:
    """One node's own, and its watch over the others'."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        *,
        node: str,
        incarnation: int,
        now_ms: Callable[[], int],
        swept: Callable[[Swept], None],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._owner = (node, incarnation)
        self._now_ms = now_ms
        self._swept = swept
        self._renewed: int | None = None
        self._since = int(time.monotonic())
        self._steady_since: int | None = None
        self._orphaned: dict[str, int] = {}
        """Charges whose owner we take for dead, and since when we know."""
        self.lost = False
        """Whether another process has taken this node's name: what we held is no longer ours."""

    @property
    def lapsed(self) -> bool:
        """Whether the last renewal is so long ago that the others may have given back what we hold."""
        return time.monotonic() - (self._since if self._renewed is None else self._renewed) > LEASE_S

    async def keep(self) -> None:
        """Renew and sweep until cancelled."""
        while True:
            try:
                await self.step(int(time.monotonic()))
            except GatewayError:  # Whatever it was: a node that stops renewing is taken for dead by the others.
                self._steady_since = None
            await asyncio.sleep(RENEW_S)

    async def step(self, now: int) -> None:
        """One renewal, and one look at the others. `now` is in seconds of a clock that never jumps. Raises NotReady."""
        if await self._writer.submit(_renew, self._owner) == 0:
            self.lost = True
            return
        if self._steady_since is None or (self._renewed is not None and now - self._renewed > 2 * RENEW_S):
            self._steady_since = now
        self._renewed = now
        if now - self._steady_since >= SETTLED_IN_S:
            await self._sweep(now)

    async def _sweep(self, now: int) -> None:
        dead = await self._readers.scan(_dead)
        seen = {charge.id: self._orphaned.get(charge.id, now) for charge in dead}
        self._orphaned = seen
        fresh = [charge for charge in dead if not charge.orphaned]
        await sweep.orphan(self._writer, fresh)
        over = [charge for charge in dead if charge.orphaned and now - seen[charge.id] >= GRACE_S]
        swept = await sweep.release(self._writer, over, at_ms=self._now_ms())
        if swept.charges:
            self._swept(swept)


def _renew(connection: Connection, owner: tuple[str, int]) -> int:
    return connection.execute(_RENEW, owner).rowcount


def _dead(connection: Connection) -> list[Open]:
    return [Open.of(row) for row in connection.execute(_DEAD)]
