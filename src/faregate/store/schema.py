"""The schema on SQLite: numbered migrations, each applied once, in one transaction with the note that it was.

`migrations/sqlite/NNNN_name.sql` are never edited once released; a change is a new number. The database keeps the
number it is at in `meta`. One that is ahead of this program is refused: an older program must not write to it.
"""

import re
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final

from faregate.store.database import StoreRefused

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql", re.ASCII)

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_VERSION = "SELECT value FROM meta WHERE name = 'schema_version'"
_FIRST_VERSION = "INSERT INTO meta(name, value) VALUES ('schema_version', ?)"
_NEXT_VERSION = "UPDATE meta SET value = ? WHERE name = 'schema_version'"


def migrations(dialect: str = "sqlite") -> list[tuple[int, str]]:
    """Number and text of each migration that this program carries for a database, in order."""
    folder = resources.files("faregate.store").joinpath("migrations", dialect)
    found = [(match, file) for file in folder.iterdir() if (match := _NAME.fullmatch(file.name))]
    return sorted((int(match[1]), file.read_text(encoding="utf-8")) for match, file in found)


def version(connection: sqlite3.Connection, path: Path) -> int:
    """The number that the database is at; 0 when it is empty. Raises StoreRefused when it is not ours."""
    tables = {name for (name,) in connection.execute(_TABLES)}
    if not tables:
        return 0
    row = connection.execute(_VERSION).fetchone() if "meta" in tables else None
    if row is None:
        raise StoreRefused(f"{path} is a database, but not one of Faregate's. Give another file as the database.")
    return int(row[0])


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a database that this program can work with. Raises StoreRefused when it is newer."""
    at, newest = version(connection, path), migrations()[-1][0]
    if at > newest:
        raise StoreRefused(
            f"{path} has schema version {at}, and this Faregate knows versions up to {newest}. "
            "Run the newer Faregate that wrote it; nothing was changed."
        )
    return at


def migrate(connection: sqlite3.Connection, path: Path) -> int:
    """Bring the database up to date and say how many migrations that took."""
    at = check_version(connection, path)
    pending = [(number, text) for number, text in migrations() if number > at]
    for number, text in pending:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(text):
                connection.execute(statement)
            connection.execute(_FIRST_VERSION if at == 0 else _NEXT_VERSION, (str(number),))
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        at = number
    return len(pending)


def _statements(text: str) -> Iterator[str]:
    # executescript would commit before it begins, and a migration must be all or nothing.
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), "a migration ends with a whole statement"
