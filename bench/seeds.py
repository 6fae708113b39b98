"""Ledgers that have grown: receipts, keys and price versions, made by the store's own verbs.

One rule: nothing is bypassed. Each receipt is a hold and a settle through the group committer, each key an order of the
office, so constraints, triggers and the audit hold of them as of any other; it takes some minutes for a million.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.answers import MODEL
from faregate import home, settings, shipped
from faregate.core import ids
from faregate.core.access import ID_CHARS, SECRET_CHARS, Key, compose
from faregate.core.ledger import Basis, Outcome, Reserve, Settle
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.store.store import Store
from faregate.wire.usage import Usage

T = TypeVar("T")

AT_ONCE: Final = 2_000
"""Commands under way: the committer makes batches of them."""
TOPUP: Final = Nanos(10**15)
USAGE: Final = Usage(input=200, output=60)


class Grown(msgspec.Struct, frozen=True):
    """How large a ledger is."""

    receipts: int
    keys: int
    prices: int

    def some(self, count: int) -> tuple[str, ...]:
        """So many of its keys, from all over it."""
        step = max(1, self.keys // count)
        return tuple(_secret(number) for number in range(0, self.keys, step))[:count]


async def grow(folder: Path, *, receipts: int, keys: int, prices: int) -> Grown:
    """Make a ledger of this size in a data folder: each key has a wallet of its own, and the receipts are theirs in
    turn."""
    environ = {"FAREGATE_HOME": str(folder), "UPSTREAM_KEY": "unused"}
    loaded = settings.load(environ, folder=folder, file=folder / "faregate.toml")
    home.prepare(loaded)
    versions = shipped.load_catalog().prices()
    async with Store.open(loaded.database, pepper=home.pepper(loaded), prices=versions) as store:
        now = store.clock()
        await _each(range(keys), lambda number: _key(store, number, now))
        for number in range(prices):
            await store.office.price_add(_version(store, number, store.clock()))
        price = store.prices.price(MODEL, now)
        assert price is not None
        await _each(range(receipts), lambda number: _receipt(store, price, number, number % keys, now - receipts))
    return Grown(receipts, keys, prices)


async def _each(things: Iterable[T], do: Callable[[T], Awaitable[object]]) -> None:
    """Do it for all of them, many at once."""
    left = iter(things)

    async def worker() -> None:
        for thing in left:
            await do(thing)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _key(store: Store, number: int, now_ms: int) -> None:
    wallet = _wallet_id(number)
    await store.office.wallet_create(wallet_id=wallet, name=wallet, floor=Nanos(0), at_ms=now_ms)
    await store.office.topup(wallet, TOPUP, note=None, reference=f"first-{wallet}", at_ms=now_ms)
    key = Key(id=_key_id(number), wallet_id=wallet, name=f"key {number}", created_at_ms=now_ms)
    await store.office.key_create(key, secret=_secret(number))


def _wallet_id(number: int) -> str:
    return f"wal_{number:026d}"


def _key_id(number: int) -> str:
    return f"{number:0{ID_CHARS}d}"


def _secret(number: int) -> str:
    """A key written out in full; the ledger is thrown away, so its secret need not be one."""
    return compose(_key_id(number), f"{number:0{SECRET_CHARS}d}")


def _version(store: Store, number: int, now_ms: int) -> PriceVersion:
    price = store.prices.price(MODEL, now_ms)
    assert price is not None
    return msgspec.structs.replace(price, id=f"{MODEL}@bench-{number}", valid_from_ms=now_ms + number % 1_000)


async def _receipt(store: Store, price: PriceVersion, number: int, owner: int, since_ms: int) -> None:
    at_ms, wallet, key = since_ms + number, _wallet_id(owner), _key_id(owner)
    charge = f"msg_{ids.ulid(at_ms, number)}"
    input_ceiling = Nanos(1_000 * price.input)
    await store.ledger.reserve(
        Reserve(
            charge_id=charge, wallet_id=wallet, key_id=key, request_id=f"req_{ids.ulid(at_ms, number)}", model=MODEL,
            price_id=price.id, body_sha256=hashlib.sha256(charge.encode()).digest(), idempotency_key=None,
            input_ceiling=input_ceiling, output_price=price.output, max_tokens=200, min_tokens=200,
            estimated=price.cost(USAGE), at_ms=at_ms,
        )
    )  # fmt: skip
    await store.ledger.settle(
        Settle(
            charge_id=charge, wallet_id=wallet, key_id=key, outcome=Outcome.OK, usage=USAGE, basis=Basis.UPSTREAM,
            charged=price.cost(USAGE), shortfall=Nanos(0), upstream="fake", attempts=1, at_ms=at_ms + 1,
        )
    )  # fmt: skip
