"""The schema on PostgreSQL: numbered migrations, each applied once, in one transaction with the note that it was.

Replicas that start together meet at a lock, and the second finds the work done. `migrations/postgres/NNNN_name.sql` are
never edited once released; the database keeps each one's hash, and refuses a program that carries another text.
"""

import hashlib
from typing import Final

import psycopg
from psycopg import sql

from faregate.core.place import Postgres
from faregate.store import schema
from faregate.store.database import StoreRefused
from faregate.store.postgres import Connection

ENCODING: Final = "UTF8"
"""What a database's texts are kept in: a server that was made under the locale C has SQL_ASCII by default."""

MIGRATION_MS: Final = 600_000
"""How long a migration may run, or wait for another process's."""

_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
"""All of them: information_schema shows a role what it may read, so to one without rights a ledger looks empty."""
_READ: Final = "SELECT name, value FROM meta WHERE name = 'schema_version' OR name LIKE 'migration:%'"
_WRITE: Final = "INSERT INTO meta(name, value) VALUES (%s, %s) ON CONFLICT(name) DO UPDATE SET value = EXCLUDED.value"
_OURS: Final = frozenset({"meta", "node", "account", "price", "key", "transfer", "charge", "hold"})

_GRANTS: Final = """
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT INSERT ON abandoned, account, answer, charge, hold, key, meta, node, price, rate, transfer TO {role};
GRANT INSERT ON batch, batch_request, native_batch TO {role};
GRANT DELETE ON answer, batch, batch_request TO {role};
GRANT UPDATE ON abandoned, batch, batch_request, charge, meta, native_batch, node, rate TO {role};
GRANT UPDATE(name) ON account TO {role};
GRANT UPDATE(revoked_at) ON key TO {role}
"""
"""A role that serves writes charges, holds and transfers, and no balance: posted and held are out of its reach. The
right to a wallet's name is what a row lock asks for."""


def migrations() -> list[tuple[int, str, str]]:
    """Number, text and hash of each migration that this program carries, in order."""
    return [(number, text, hashlib.sha256(text.encode()).hexdigest()) for number, text in schema.migrations("postgres")]


def check_version(connection: Connection, place: Postgres) -> int:
    """The version of a database that this program can work with; 0 when it is empty. Raises StoreRefused."""
    encoding = connection.raw.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        # A caller could ask for a receipt by a name that such a database cannot even be asked for.
        raise StoreRefused(
            f"{place} keeps its texts in {encoding}, which does not hold every text. Make a database with "
            f"`createdb -E {ENCODING} -T template0`, and give its URL."
        )
    tables = {name for (name,) in connection.raw.execute(_TABLES)}
    if not tables & _OURS:
        return 0
    kept = dict(connection.raw.execute(_READ).fetchall()) if "meta" in tables else {}
    if "schema_version" not in kept:
        raise StoreRefused(
            f"{place} has tables with the names of Faregate's ({', '.join(sorted(tables & _OURS))}) but no schema "
            "version: they are another program's, or a migration was run by hand and not to its end. Use an empty "
            "schema, or drop those tables, then run `faregate migrate`."
        )
    at, known = int(kept["schema_version"]), migrations()
    if at > known[-1][0]:
        raise StoreRefused(
            f"{place} has schema version {at}, and this Faregate knows versions up to {known[-1][0]}. "
            "Run the newer Faregate that wrote it; nothing was changed."
        )
    for number, _, digest in known[:at]:
        if kept.get(f"migration:{number}") != digest:
            raise StoreRefused(
                f"{place} was migrated by another text of migration {number} than this Faregate carries. Run the "
                "Faregate that wrote it; nothing was changed."
            )
    return at


def migrate(connection: Connection, place: Postgres) -> int:
    """Bring the database up to date and say how many migrations that took. Raises StoreRefused or psycopg.Error."""
    at = check_version(connection, place)
    done = 0
    for number, text, digest in migrations()[at:]:
        with connection.raw.transaction():
            one_at_a_time(connection)
            if check_version(connection, place) >= number:
                continue  # Another process did it while we waited.
            try:
                connection.raw.execute(text.encode())
            except psycopg.errors.InsufficientPrivilege as error:
                raise StoreRefused(
                    f"{place} is at schema version {number - 1} and needs {number}, and this role may not change it: "
                    f"{str(error).splitlines()[0]}. Run `faregate migrate` with the URL of the tables' owner."
                ) from error
            connection.raw.execute(_WRITE, ("schema_version", str(number)))
            connection.raw.execute(_WRITE, (f"migration:{number}", digest))
        done += 1
    return done


def one_at_a_time(connection: Connection) -> None:
    """Wait until no other process migrates or starts, to the end of this transaction."""
    raw = connection.raw
    raw.execute(f"SET LOCAL lock_timeout = {MIGRATION_MS}".encode())
    raw.execute(f"SET LOCAL statement_timeout = {MIGRATION_MS}".encode())
    # What a function of ours finds by name must not depend on who calls it.
    raw.execute("SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)")
    raw.execute("SELECT pg_advisory_xact_lock(hashtext('faregate migration'))")


def grant(connection: Connection, role: str) -> None:
    """Give a role what serving needs, and no more. Raises psycopg.Error."""
    row = connection.raw.execute("SELECT current_schema()").fetchone()
    assert row is not None
    names = {"schema": sql.Identifier(row[0]), "role": sql.Identifier(role)}
    with connection.raw.transaction():
        connection.raw.execute(sql.SQL(_GRANTS).format(**names))
