"""A node's incarnations: each start has its own number, and its own hour."""

from faregate.store import nodes
from tests.store.raw import Raw


def test_each_start_of_a_node_has_the_next_number_and_another_node_its_own(raw: Raw) -> None:
    assert [nodes.begin(raw.connection, name, at) for at, name in enumerate("aabab", start=1)] == [1, 2, 1, 3, 2]

    rows = raw.connection.execute("SELECT name, incarnation, started_at, seen_at FROM node ORDER BY name").fetchall()
    assert [tuple(row) for row in rows] == [("a", 3, 4, 4), ("b", 2, 5, 5)]
