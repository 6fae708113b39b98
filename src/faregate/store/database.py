"""The database as the statements know it: one connection in one thread's hands, and the few words both drivers share.

A statement is written once, in the SQL that SQLite and PostgreSQL both speak, with `?` for a value (statements.py says
what that leaves out). What differs between the two is in sqlite.py and postgres.py and nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from faregate.core.errors import NotReady

R = TypeVar("R")


class StoreRefused(Exception):
    """The database cannot be opened as it is. The message is one clear sentence for the operator."""


class WalletLocked(Exception):
    """A neighbour does not let a wallet's row go. The database is well, and so are all the other wallets."""


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection, in a transaction that somebody else began and will end."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor: ...


class Readers(Protocol):
    """Reads beside the writer, of what is durable. Raises NotReady."""

    async def point(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """One row by its key."""

    async def scan(self, read: Callable[[Connection], R]) -> R:
        """Run `read`, for what may take long."""

    async def snapshot(self, read: Callable[[Connection], R]) -> R:
        """Run `read` on one state of the database, whatever is written meanwhile."""

    async def close(self) -> None:
        """Take no more, and end what is being read or wait for it."""


def unavailable(error: BaseException, *, unknown: bool = False) -> NotReady:
    """Say to the caller that the database does not answer; the cause stays ours.

    `unknown` is what may have been done all the same: COMMIT was on its way, and nobody can tell how that ended.
    """
    refusal = NotReady(
        "The ledger's database broke off: whether this was done is not known."
        if unknown
        else "The ledger's database does not take this now. Nothing was charged; please try again shortly.",
        code="database_unavailable",
        details={"outcome": "unknown"} if unknown else None,
        retry_after_s=1,
    )
    refusal.__cause__ = error
    return refusal
