"""Price versions (port.Prices): appended, never edited, and few, so this process has them all at hand.

What another replica appends we are told. While we cannot be told, they are read anew before a call is quoted.
"""

import asyncio
import time
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

import msgspec

from faregate.core.errors import Conflict, InvalidRequest
from faregate.core.pricing import PriceVersion, in_force
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers, StoreRefused

_COLUMNS: Final = "id, model, valid_from, input, output, cache_write_5m, cache_write_1h, cache_read"
_ALL: Final = f"SELECT {_COLUMNS} FROM price ORDER BY model, valid_from"  # noqa: S608 - constants
_CLASHING: Final = f"SELECT {_COLUMNS} FROM price WHERE id = ? OR (model = ? AND valid_from = ?)"  # noqa: S608 - constants
_INSERT: Final = f"INSERT INTO price({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants


NOW_MS: Final = 1_000
"""How long ago is still now: whoever asks for "from now on" has read the clock a moment before we do."""

FRESH_NS: Final = 2_000_000_000
"""How long what was read is good while we would not hear of a change."""


class Prices:
    """Implements port.Prices, and Office.price_add."""

    def __init__(self, writer: Writer, readers: Readers, versions: list[PriceVersion]) -> None:
        self._writer = writer
        self._readers = readers
        self._versions: list[PriceVersion] = []
        self._trusted = True
        self._read_at_ns: int | None = None
        self._reading = asyncio.Lock()
        self._keep(versions)

    def price(self, model: str, now_ms: int) -> PriceVersion | None:
        return in_force(self._by_model.get(model, ()), now_ms)

    def versions(self) -> list[PriceVersion]:
        return list(self._versions)

    async def current(self) -> None:
        if self._trusted:
            return
        async with self._reading:
            if self._read_at_ns is None or time.monotonic_ns() - self._read_at_ns >= FRESH_NS:
                await self.read_anew()

    async def read_anew(self) -> None:
        """Have what the database has. Raises NotReady."""
        at_ns = time.monotonic_ns()
        self._keep(await self._readers.scan(read))
        self._read_at_ns = at_ns

    def trust(self, trusted: bool) -> None:  # noqa: FBT001 - a listener says one word
        """Whether we would hear of a change."""
        self._trusted = trusted

    async def add(self, version: PriceVersion, *, now_ms: int) -> PriceVersion:
        """As Office.price_add."""
        self._keep(await self._writer.submit(_add, (version, now_ms)))
        return version

    def _keep(self, versions: list[PriceVersion]) -> None:
        if len(versions) < len(self._versions):
            return  # Read before others that are kept by now: nothing is ever taken out.
        self._versions = versions
        self._by_model = {model: list(group) for model, group in groupby(versions, key=lambda version: version.model)}


def read(connection: Connection) -> list[PriceVersion]:
    """Every version, by model, then by date."""
    return [_version(row) for row in connection.execute(_ALL)]


def ship(connection: Connection, versions: Iterable[PriceVersion]) -> None:
    """Append the versions that came with the program, where they are new. Raises StoreRefused for an edited one."""
    for version in versions:
        clashing = _clashing(connection, version)
        if clashing is None:
            connection.execute(_INSERT, msgspec.structs.astuple(version))
        elif clashing != version:
            raise StoreRefused(
                f"The database has price version {clashing.id} of {clashing.model} with other figures than "
                f"the catalog's {version.id}. A price version is never edited: give the new prices their own."
            )


def _add(connection: Connection, command: tuple[PriceVersion, int]) -> list[PriceVersion]:
    version, now_ms = command
    clashing = _clashing(connection, version)
    if clashing is None:
        if version.valid_from_ms < now_ms - NOW_MS:
            raise InvalidRequest("valid_from: a price version cannot begin in the past; calls were billed without it.")
        connection.execute(_INSERT, msgspec.structs.astuple(version))
    elif clashing != version:
        raise Conflict(
            f"Price version {clashing.id} of {clashing.model} exists with other figures or begins at the same time. "
            "A price version is never edited: add one with an id and a time of its own.",
            code="conflict",
        )
    return read(connection)


def _clashing(connection: Connection, version: PriceVersion) -> PriceVersion | None:
    rows = connection.execute(_CLASHING, (version.id, version.model, version.valid_from_ms)).fetchall()
    found = [_version(row) for row in rows]
    return next((other for other in found if other != version), found[0] if found else None)


def _version(row: tuple[Any, ...]) -> PriceVersion:
    return msgspec.convert(dict(zip(PriceVersion.__struct_fields__, row, strict=True)), PriceVersion)
