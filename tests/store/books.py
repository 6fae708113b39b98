"""What the store's tests share: a price, commands with plain defaults, and the two databases.

A folder stands for one ledger: an SQLite file in it, or the PostgreSQL database whose URL it holds.
"""

from pathlib import Path
from typing import Any

from faregate.core.access import Key
from faregate.core.ledger import Basis, Outcome, Release, Reserve, Settle
from faregate.core.money import Nanos
from faregate.core.place import Place, Postgres
from faregate.core.pricing import PriceVersion
from faregate.store.store import Store
from faregate.wire.usage import Usage
from tests.postgres import URL

PEPPER = b"p" * 32
PRICE = PriceVersion(
    id="small@2025",
    model="small",
    valid_from_ms=0,
    input=Nanos(1_000),
    output=Nanos(5_000),
    cache_write_5m=Nanos(1_250),
    cache_write_1h=Nanos(2_000),
    cache_read=Nanos(100),
)
WALLET = "wal_1"
KEY = "key_1"
SECRET = "sk-fare-one"
NOW = 1_700_000_000_000
HOUR = 3_600_000


def message(number: int) -> str:
    return f"msg_{number:026d}"


def reserve(number: int, **fields: Any) -> Reserve:
    """A call that holds 600,000: 100,000 of input and 100 tokens of output."""
    plain: dict[str, Any] = {
        "charge_id": message(number),
        "wallet_id": WALLET,
        "key_id": KEY,
        "request_id": f"req_{number}",
        "model": PRICE.model,
        "price_id": PRICE.id,
        "body_sha256": b"b" * 32,
        "idempotency_key": None,
        "input_ceiling": Nanos(100_000),
        "output_price": Nanos(5_000),
        "max_tokens": 100,
        "min_tokens": 100,
        "estimated": Nanos(200_000),
        "at_ms": NOW + number,
    }
    return Reserve(**(plain | fields))


def settle(number: int, **fields: Any) -> Settle:
    """The end of it: 50 tokens in and 20 out are 150,000."""
    plain: dict[str, Any] = {
        "charge_id": message(number),
        "wallet_id": WALLET,
        "key_id": KEY,
        "outcome": Outcome.OK,
        "usage": Usage(input=50, output=20),
        "basis": Basis.UPSTREAM,
        "charged": Nanos(150_000),
        "shortfall": Nanos(0),
        "upstream": "fake",
        "attempts": 1,
        "at_ms": NOW + 500 + number,
    }
    return Settle(**(plain | fields))


def release(number: int, **fields: Any) -> Release:
    plain: dict[str, Any] = {
        "charge_id": message(number),
        "wallet_id": WALLET,
        "key_id": KEY,
        "outcome": Outcome.UPSTREAM_ERROR,
        "at_ms": NOW + 500 + number,
    }
    return Release(**(plain | fields))


def key(**fields: Any) -> Key:
    plain: dict[str, Any] = {"id": KEY, "wallet_id": WALLET, "name": "first", "created_at_ms": NOW}
    return Key(**(plain | fields))


def place(folder: Path) -> Place:
    """Where the ledger of a folder is kept."""
    url = folder / URL
    return Postgres(url.read_text()) if url.exists() else folder / "faregate.db"


def opening(folder: Path, **options: Any) -> Any:
    """An owner's store on the ledger of `folder`, at a clock that stands still."""
    plain: dict[str, Any] = {"pepper": PEPPER, "prices": [PRICE], "clock": lambda: NOW}
    return Store.open(place(folder), **(plain | options))


async def fund(store: Store, amount: int, **limits: Any) -> None:
    """Open the wallet with so much in it, and its key."""
    await store.office.wallet_create(wallet_id=WALLET, name="main", floor=Nanos(0), at_ms=NOW)
    if amount:
        await store.office.topup(WALLET, Nanos(amount), note=None, reference="first", at_ms=NOW)
    await store.office.key_create(key(**limits), secret=SECRET)


async def funds(store: Store) -> tuple[int, int]:
    """(posted, held); and the books must be clean."""
    assert [finding for finding in await store.office.audit() if finding.count] == []
    wallet = await store.records.wallet(WALLET)
    assert wallet is not None
    return wallet.posted, wallet.held
