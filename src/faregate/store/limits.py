"""A key's own limits as accounts: its lifetime quota, and a spend window for each of 5 h, 1 d and 7 d.

Such an account is opened with its cap paid into it, holds beside the wallet, and pays what is charged, so the check
that keeps a wallet above its floor keeps a key within its limits. The quota never ends. A window is opened by the
first call in it and ends when its time is over; the next call opens a fresh one, and the old is left as it was.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from faregate.core.access import WINDOWS
from faregate.core.ledger import LIMITS
from faregate.store.database import Connection
from faregate.store.statements import OPEN_LIMIT, READ_LIMITS, TRANSFER

QUOTA: Final = "quota"
NEVER_MS: Final = 2**62
NAMES: Final = (QUOTA, *WINDOWS)
"""The order in which they are judged."""


class Limit(msgspec.Struct, frozen=True):
    """One limit of a key as it stands; `opened` is False for a window that the next call opens."""

    name: str
    account_id: str
    available: int
    moves: int
    ends_at_ms: int
    opened: bool


def read(connection: Connection, wallet_id: str, key_id: str, caps: Sequence[int | None], now_ms: int) -> list[Limit]:
    """The limits that bind a call now, in order. `caps` are the key's, in the order of NAMES."""
    rows = {row[0]: row for row in connection.execute(READ_LIMITS, (wallet_id, key_id, now_ms))}
    return [
        _limit(name, cap, rows.get(name), key_id, now_ms)
        for name, cap in zip(NAMES, caps, strict=True)
        if cap is not None
    ]


def _limit(name: str, cap: int, row: tuple[str, str, int, int, int] | None, key_id: str, now_ms: int) -> Limit:
    if row is not None:
        return Limit(*row, True)
    assert name != QUOTA, "a quota is opened with its key"
    return Limit(name, f"{key_id}:{name}:{now_ms}", cap, 0, now_ms + WINDOWS[name], False)


def quota(key_id: str, cap: int) -> Limit:
    """The quota of a new key, to be opened."""
    return Limit(QUOTA, f"{key_id}:{QUOTA}", cap, 0, NEVER_MS, False)


def open_account(connection: Connection, wallet_id: str, key_id: str, limit: Limit, at_ms: int) -> None:
    """Open a fresh limit with its cap in it."""
    account_id = limit.account_id
    connection.execute(OPEN_LIMIT, (wallet_id, account_id, limit.name, key_id, at_ms, limit.ends_at_ms))
    if limit.available > 0:
        connection.execute(
            TRANSFER, (wallet_id, f"cap:{account_id}", "cap", LIMITS, account_id, limit.available, None, at_ms, None)
        )
