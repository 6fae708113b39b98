"""Books for the checker's own tests: made by the real schema, then doctored with the schema's guards taken out.

books = Doctored(folder);  books.call("a");  books.do("UPDATE account SET held = 1")
books.found(calls, notes)  ->  what the checker says
"""

import sqlite3
from pathlib import Path

from tests.faults.checker import Note, UpstreamCall, check, read_sqlite
from tests.store.books import KEY, WALLET
from tests.store.raw import Raw, SqliteRaw

USAGE = {"input": 7, "output": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}
"""Of each call that is settled here, at one nanodollar a token."""


class Doctored:
    """A wallet with 1,000, a key with a limit of 500 more than it will need, and calls that cost 7."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "books.db"
        self.raw = SqliteRaw(self.path)
        self.notes: list[Note] = []
        self.calls: list[UpstreamCall] = []
        self.raw.do(
            "INSERT INTO account(wallet_id, id, kind, name, key_id, floor, created_at, ends_at) "
            f"VALUES ('{WALLET}', 'lim', 'limit', 'quota', '{KEY}', 0, 0, 9)",
            Raw.transfer("cap:lim", "cap", ("limits", "lim"), 500),
        )

    def hold(self, name: str, amount: int = 20) -> None:
        """A call that is under way, held on the wallet and on the key's limit."""
        body = Raw.charge(name, amount).replace("x'00'", f"x'{body_of(name).hex()}'")
        self.raw.do(body, self.raw.hold(name, amount))
        self.raw.do(self.raw.hold(name, amount, "lim"))

    def settle(self, name: str, charged: int = 7, shortfall: int = 0) -> None:
        transfers = [Raw.transfer(f"settle:{name}", "settle", (WALLET, "revenue"), charged, name)]
        if shortfall:
            transfers.append(Raw.transfer(f"shortfall:{name}", "shortfall", ("shortfall", "revenue"), shortfall, name))
        transfers.append(Raw.transfer(f"limit:{name}:lim", "limit", ("lim", "limits"), charged, name))
        self.raw.do(Raw.settled(name, charged, shortfall), *transfers)

    def call(self, name: str) -> None:
        """A whole call, as upstream served it and its caller saw it."""
        self.hold(name)
        self.settle(name)
        self.calls.append(UpstreamCall(name, 200, finished=True, usage=USAGE))
        self.notes.append(Note(name, "end", message_id=name, body_sha256=body_of(name), usage=USAGE, charged=7))

    def release(self, name: str) -> None:
        self.raw.do(Raw.released(name))

    def do(self, *statements: str) -> None:
        """Write what the schema forbids: its triggers are gone from here on, and its checks are not looked at."""
        raw = self.raw.connection
        for pragma in ("foreign_keys = OFF", "ignore_check_constraints = ON"):
            raw.execute(f"PRAGMA {pragma}")
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            done = raw.execute(statement)
            assert done.rowcount > 0, f"it doctors nothing: {statement}"

    def found(self, *, quiet: bool = True) -> list[str]:
        try:
            return check(read_sqlite(self.path), self.calls, self.notes, quiet=quiet)
        except sqlite3.Error as error:  # pragma: no cover
            raise AssertionError("the books cannot be read") from error


def body_of(name: str) -> bytes:
    return name.encode().ljust(32, b".")
