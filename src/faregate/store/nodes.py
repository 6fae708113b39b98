"""Nodes: who holds what. A node begins a new incarnation with every start, so that the old one's charges are known."""

from typing import Final

from faregate.store.database import Connection

_INCARNATION: Final = "SELECT incarnation FROM node WHERE name = ?"
_FIRST: Final = "INSERT INTO node(incarnation, started_at, seen_at, name) VALUES (?, ?, ?, ?)"
_AGAIN: Final = "UPDATE node SET incarnation = ?, started_at = ?, seen_at = ? WHERE name = ?"


def begin(connection: Connection, node: str, now_ms: int) -> int:
    """Begin the node's next incarnation and say its number, from 1."""
    row = connection.execute(_INCARNATION, (node,)).fetchone()
    incarnation = 1 if row is None else int(row[0]) + 1
    connection.execute(_FIRST if row is None else _AGAIN, (incarnation, now_ms, now_ms, node))
    return incarnation
