"""Reading back (port.Records): receipts, answers that are kept, usage, a wallet and what is left of a key's caps."""

import asyncio
from typing import Any, Final

import msgspec

from faregate.core.access import Key
from faregate.core.errors import NotReady
from faregate.core.ledger import Answer, Receipt, Wallet
from faregate.store import answers, limits, receipts, wallets
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers
from faregate.store.lease import Lease
from faregate.store.statements import READ_ANSWER, READ_RECEIPT, RECEIPT_COLUMNS

PAGE_MAX: Final = 1_000
USAGE_MAX: Final = 2
"""Pages of usage read at a time: one may be sought through a wallet's whole past, and calls must not wait behind it."""

_SEEN: Final = "UPDATE node SET seen_at = seen_at + 1 WHERE name = ?"
_SELECT_USAGE: Final = f"SELECT {RECEIPT_COLUMNS} FROM charge WHERE wallet_id = ?"  # noqa: S608 - constants
_FILTERS: Final = {
    "key_id": " AND key_id = ?",
    "model": " AND model = ?",
    "since_ms": " AND created_at >= ?",
    "until_ms": " AND created_at < ?",
    "before": " AND id < ?",
}
_NEWEST_FIRST: Final = " ORDER BY id DESC LIMIT ?"


class Page(msgspec.Struct, frozen=True):
    """Implements port.Page."""

    receipts: list[Receipt]
    next: str | None


class Records:
    """Implements port.Records."""

    def __init__(self, writer: Writer, readers: Readers, *, node: str) -> None:
        self._writer = writer
        self._readers = readers
        self._node = node
        self._lease: Lease | None = None
        self._seeking = asyncio.Semaphore(USAGE_MAX)

    def leased(self, lease: Lease) -> None:
        """Be not ready once this lease is lost."""
        self._lease = lease

    async def receipt(self, wallet_id: str, charge_id: str) -> Receipt | None:
        row = await self._readers.point(READ_RECEIPT, (wallet_id, charge_id))
        return None if row is None else receipts.receipt(row)

    async def answer(self, wallet_id: str, charge_id: str, at_ms: int) -> Answer | None:
        row = await self._readers.point(READ_ANSWER, (wallet_id, charge_id, at_ms))
        return None if row is None else answers.answer(row)

    async def forget_answers(self, at_ms: int) -> int:
        return await answers.forget(self._writer, self._readers, at_ms)

    async def usage(
        self,
        wallet_id: str,
        *,
        key_id: str | None,
        model: str | None,
        since_ms: int | None,
        until_ms: int | None,
        before: str | None,
        limit: int,
    ) -> Page:
        given = {"key_id": key_id, "model": model, "since_ms": since_ms, "until_ms": until_ms, "before": before}
        asked = {name: value for name, value in given.items() if value is not None}
        limit = max(1, min(limit, PAGE_MAX))
        statement = _SELECT_USAGE + "".join(_FILTERS[name] for name in asked) + _NEWEST_FIRST
        # One more than the page tells whether there is another.
        values = (wallet_id, *asked.values(), limit + 1)
        async with self._seeking:
            rows = await self._readers.scan(lambda connection: connection.execute(statement, values).fetchall())
        found = [receipts.receipt(row) for row in rows[:limit]]
        return Page(found, found[-1].id if len(rows) > limit else None)

    async def wallet(self, wallet_id: str) -> Wallet | None:
        row = await self._readers.point(wallets.BY_ID, (wallet_id, wallet_id))
        return None if row is None else wallets.wallet(row)

    async def spent(self, key: Key, now_ms: int) -> dict[str, int]:
        caps = (key.quota, key.spend_5h, key.spend_1d, key.spend_7d)
        if caps == (None, None, None, None):
            return {}
        found = await self._readers.scan(
            lambda connection: limits.read(connection, key.wallet_id, key.id, caps, now_ms)
        )
        return {limit.name: limit.available for limit in found}

    async def writable(self) -> bool:
        if self._lease is not None and self._lease.lost:
            return False
        try:
            return await self._writer.submit(_write, self._node)
        except NotReady:
            return False


def _write(connection: Connection, node: Any) -> bool:
    return connection.execute(_SEEN, (node,)).rowcount == 1
