"""What the operator does (port.Office): each verb one command for the committer, or one read beside it."""

from collections.abc import Callable

from faregate.core.access import Key
from faregate.core.errors import InvalidRequest
from faregate.core.ledger import Wallet
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.store import audit, wallets
from faregate.store.committer import Writer
from faregate.store.database import Readers
from faregate.store.keys import Keys
from faregate.store.port import Finding, Transfer
from faregate.store.prices import Prices
from faregate.store.wallets import Movement, Opening


class Office:
    """Implements port.Office."""

    def __init__(self, writer: Writer, readers: Readers, keys: Keys, prices: Prices, clock: Callable[[], int]) -> None:
        self._writer = writer
        self._readers = readers
        self._keys = keys
        self._prices = prices
        self._clock = clock

    async def wallet_create(self, *, wallet_id: str, name: str, floor: Nanos, at_ms: int) -> Wallet:
        opening = Opening(wallet_id=wallet_id, name=name, floor=floor, at_ms=at_ms)
        return await self._writer.submit(wallets.open_wallet, opening)

    async def wallet_find(self, id_or_name: str) -> Wallet:
        return await self._readers.scan(lambda connection: wallets.find(connection, id_or_name))

    async def wallets(self) -> list[Wallet]:
        return await self._readers.scan(wallets.every)

    async def topup(self, wallet: str, amount: Nanos, *, note: str | None, reference: str, at_ms: int) -> Transfer:
        if amount <= 0:
            raise InvalidRequest("amount: a top-up is above 0; an adjustment takes credits away.")
        return await self._move(
            Movement(kind="topup", wallet=wallet, amount=amount, note=note, reference=reference, at_ms=at_ms)
        )

    async def adjust(self, wallet: str, amount: Nanos, *, note: str, reference: str, at_ms: int) -> Transfer:
        if amount == 0:
            raise InvalidRequest("amount: an adjustment is not 0.")
        return await self._move(
            Movement(kind="adjust", wallet=wallet, amount=amount, note=note, reference=reference, at_ms=at_ms)
        )

    async def transfers(self, wallet: str, *, limit: int) -> list[Transfer]:
        return await self._readers.scan(lambda connection: wallets.transfers(connection, wallet, limit))

    async def key_create(self, key: Key, *, secret: str) -> Key:
        return await self._keys.create(key, secret=secret)

    async def keys(self, wallet: str | None) -> list[Key]:
        return await self._keys.list(None if wallet is None else (await self.wallet_find(wallet)).id)

    async def key_find(self, key_id: str) -> Key:
        return await self._keys.key(key_id)

    async def key_revoke(self, key_id: str, *, at_ms: int) -> Key:
        return await self._keys.revoke(key_id, at_ms=at_ms)

    async def price_add(self, version: PriceVersion) -> PriceVersion:
        return await self._prices.add(version, now_ms=self._clock())

    async def operator_accounts(self) -> dict[str, int]:
        return await self._readers.scan(wallets.operator_accounts)

    async def audit(self) -> list[Finding]:
        return await self._readers.snapshot(audit.run)

    async def _move(self, movement: Movement) -> Transfer:
        if not movement.reference:
            raise InvalidRequest("reference: it is what makes a movement happen once; it cannot be empty.")
        return await self._writer.submit(wallets.move, movement)
