"""What a database is once it is open: the parts that a store is made of, whichever of the two it is."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

import msgspec

from faregate.core.pricing import PriceVersion
from faregate.store.committer import Committer, Driver
from faregate.store.database import Readers, StoreRefused
from faregate.store.sweep import Swept

if TYPE_CHECKING:
    from faregate.store.store import Store

Beside = Callable[["Store", Committer, Callable[[Swept], None]], AbstractAsyncContextManager[object]]


def nothing_beside(
    store: "Store", committer: Committer, swept: Callable[[Swept], None]
) -> AbstractAsyncContextManager[None]:
    """One process owns the database: there is nobody to listen to, and nobody else to sweep."""
    return nullcontext()


class Opened(msgspec.Struct, kw_only=True):
    """An open database, and what was read from it."""

    driver: Driver
    readers: Readers
    versions: list[PriceVersion]
    pepper: bytes
    node: str
    incarnation: int
    refused: Callable[[BaseException], StoreRefused]
    """What a failure to begin means to who runs this."""
    beside: Beside = nothing_beside
    """What runs as long as the store is open. It may close the ledger and the committer first, when it is to end."""
