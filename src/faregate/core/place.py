"""Where a ledger is kept: an SQLite file by its path, or a PostgreSQL database by its URL."""

from pathlib import Path

import msgspec


class Postgres(msgspec.Struct, frozen=True):
    """A PostgreSQL database. The URL may hold a password, so it is shown by its name alone."""

    url: str

    def __repr__(self) -> str:
        return f"Postgres({self})"

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        # What stands before the last @ of the authority may be a password; what stands in the query, too.
        authority, slash, path = rest.partition("/")
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


Place = Path | Postgres
