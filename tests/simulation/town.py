"""The town that a gateway stands in: wallets and keys, the clock on the wall, and an operator who meddles.

The rule: what the operator was told has happened is noted here, and held against the books by the judge.
"""

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path
from typing import Any, Final

from faregate.core.access import Key, compose
from faregate.core.catalog import load
from faregate.core.errors import Conflict, NotReady, PaymentRequired
from faregate.core.estimate import Estimator
from faregate.core.ids import ulid
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.core.routing import Retry, Routes
from faregate.proxy.port import Gateway
from faregate.shipped import SHIPPED, shipped_text
from faregate.store.port import Office
from faregate.store.store import Store
from tests.simulation.calls import HAIKU, SONNET
from tests.simulation.clock import VirtualLoop

PEPPER: Final = b"p" * 32
EPOCH_MS: Final = 1_790_000_000_000
CATALOG: Final = load(
    shipped_text(), source=SHIPPED, more=[("town.toml", f"[models.{SONNET}]\nruns_to_completion = true\n")]
)
"""Of one model upstream bills what was asked for, whether or not its caller stays."""

ABANDON_BUDGET: Final = Nanos(3_000_000)
CREDITS: Final = 1_000
"""Nanodollars."""

MEDDLE_S: Final = 6.0
"""Between two things that the operator does, on the whole."""

WALLETS: Final = (50_000_000, 50_000_000, 50_000_000, 10_000_000, 200_000, 20_000, 500)
"""Credits that wallets begin with: some are rich, most will soon be empty."""

KEYS: Final[tuple[dict[str, Any], ...]] = (
    {}, {}, {}, {"quota": 30_000}, {"spend_5h": 9_000, "spend_1d": 20_000}, {"spend_7d": 5_000, "quota": 9_000},
    {"requests_per_minute": 30}, {"concurrency": 2},
    {"input_tokens_per_minute": 3_000, "output_tokens_per_minute": 900}, {"models": (HAIKU,)},
    {"expires_at_ms": EPOCH_MS + 300_000},
)  # fmt: skip


class Town:
    """What outlives every gateway."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.loop: VirtualLoop | None = None
        self._offset_ms = 0
        self._settled = False
        self._references = 0
        self.shipped = CATALOG.prices()
        self.keys: list[Key] = []
        self.secrets: list[tuple[str, str]] = []
        self.revoked: dict[str, float] = {}
        """Keys whose revocation was answered, and when."""
        self.moved: dict[str, tuple[str, int]] = {}
        """Top-ups and corrections that were answered: reference to wallet and amount."""
        self.asked: dict[str, tuple[str, int]] = {}
        """And those that were asked for."""
        self.locked_until = -1_000.0
        """When somebody else last had the file."""
        self.priced: dict[str, float] = {}
        """When each price version was asked for."""
        self.minted: dict[str, float] = {}
        """When each id was made, by the time that never goes back."""
        self._found()

    def now_ms(self) -> int:
        """The clock on the wall, which is set now and then."""
        assert self.loop is not None
        return EPOCH_MS + self._offset_ms + int(self.loop.time() * 1_000)

    def new_id(self, prefix: str) -> str:
        assert self.loop is not None
        made = prefix + ulid(self.now_ms(), self._chance.getrandbits(80))
        self.minted[made] = self.loop.time()
        return made

    def _found(self) -> None:
        for index, caps in enumerate(KEYS * 2):
            key_id = f"{index:012d}"
            wallet = index % len(WALLETS)
            money = {name: Nanos(cap * CREDITS) for name, cap in caps.items() if name.startswith(("quota", "spend"))}
            self.keys.append(
                Key(id=key_id, wallet_id=f"wal_{wallet}", name="k", created_at_ms=EPOCH_MS, **{**caps, **money})
            )
            self.secrets.append((key_id, compose(key_id, "s" * 32)))

    async def settle_in(self, office: Office) -> None:
        """Open wallets and keys, at the first start; what a crash has cut off is done again."""
        if self._settled:
            return
        for index, amount in enumerate(WALLETS):
            wallet_id = f"wal_{index}"
            await _once(office.wallet_create(wallet_id=wallet_id, name=wallet_id, floor=Nanos(0), at_ms=EPOCH_MS))
            if amount:
                await self._move(office, wallet_id, amount * CREDITS, f"first-{index}")
        for key, (_, secret) in zip(self.keys, self.secrets, strict=True):
            await _once(office.key_create(key, secret=secret))
        self._settled = True

    async def meddle(self, office: Office, file: Path) -> None:
        """Now and then something is done, by whoever may."""
        chance = self._chance
        while True:
            await asyncio.sleep(chance.expovariate(1.0) * MEDDLE_S)
            roll = chance.random()
            if roll < 0.5:
                self._references += 1
                amount = chance.choice((50_000, 1_000_000, 9_000_000, -20_000, -3_000_000))
                await self._move(office, f"wal_{chance.randrange(len(WALLETS))}", amount, f"move-{self._references}")
            elif roll < 0.6:
                await self._set_clock()
            elif roll < 0.7:
                await self._reprice(office)
            elif roll < 0.75:
                await self._revoke(office)
            elif roll < 0.79:
                await self._lock(file)

    async def _revoke(self, office: Office) -> None:
        key_id = self._chance.choice(self.keys[len(KEYS) :]).id
        with contextlib.suppress(NotReady):
            await office.key_revoke(key_id, at_ms=self.now_ms())
            assert self.loop is not None
            self.revoked.setdefault(key_id, self.loop.time())

    async def _lock(self, file: Path) -> None:
        """Somebody else writes to the file for a while, with a shell or a backup: the gateway cannot."""
        with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as shell:
            try:
                shell.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return  # The gateway is writing itself just now.
            try:
                await asyncio.sleep(self._chance.choice((0.01, 0.5, 3.0, 30.0)))
            finally:
                assert self.loop is not None
                self.locked_until = self.loop.time()

    async def _set_clock(self) -> None:
        chance = self._chance
        self._offset_ms += chance.choice((-1, 1)) * chance.choice((50, 3_000, 3_600_000, 6 * 3_600_000))

    async def _move(self, office: Office, wallet: str, amount: int, reference: str) -> None:
        self.asked[reference] = (wallet, amount)
        try:
            if amount > 0:
                await office.topup(wallet, Nanos(amount), note=None, reference=reference, at_ms=self.now_ms())
            else:
                await office.adjust(wallet, Nanos(amount), note="less", reference=reference, at_ms=self.now_ms())
        except PaymentRequired:
            del self.asked[reference]
        except NotReady:
            pass  # Whether it has happened is for whoever asks again to find out.
        else:
            self.moved[reference] = (wallet, amount)

    async def _reprice(self, office: Office) -> None:
        """Another price from some seconds on, at most a few times as dear."""
        chance = self._chance
        model = chance.choice((HAIKU, SONNET))
        valid_from = self.now_ms() + 2_000 + chance.randrange(10_000)
        columns = {name: Nanos(chance.randrange(0, 20) * 250) for name in ("input", "output", "cache_read")}
        version = PriceVersion(
            id=f"{model}@{valid_from}", model=model, valid_from_ms=valid_from, cache_write_5m=columns["input"],
            cache_write_1h=Nanos(columns["input"] * 2), **columns,
        )  # fmt: skip
        assert self.loop is not None
        self.priced[version.id] = self.loop.time()
        await _once(office.price_add(version))


async def _once(doing: Any) -> None:
    """Do what may have been done before a crash, and is then refused; or cannot be done now, and is given up."""
    with contextlib.suppress(Conflict, NotReady):
        await doing


def wire(town: Town, store: Store, upstreams: dict[str, Any], observer: Any) -> Gateway:
    """A gateway in this town."""
    return Gateway(
        keys=store.keys,
        prices=store.prices,
        ledger=store.ledger,
        records=store.records,
        catalog=CATALOG,
        upstreams=upstreams,
        routes=Routes(list(upstreams)),
        retry=Retry(),
        abandon_budget=ABANDON_BUDGET,
        estimator=Estimator(),
        now_ms=town.now_ms,
        chance=town._chance.random,
        new_id=town.new_id,
        observer=observer,
    )
