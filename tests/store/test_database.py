"""What both databases share: the answer of a ledger whose database does not answer."""

import sqlite3

from faregate.store.database import Connection, unavailable


def test_a_database_that_fails_is_a_503_that_says_nothing_of_the_cause_and_may_be_tried_again() -> None:
    cause = sqlite3.OperationalError("disk I/O error at /secret/path")

    refusal = unavailable(cause)

    assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "database_unavailable", 1)
    assert "secret" not in refusal.message and refusal.__cause__ is cause


def test_sqlites_own_connection_is_a_connection() -> None:
    connection: Connection = sqlite3.connect(":memory:")

    assert connection.execute("SELECT ? + 1", (1,)).fetchone() == (2,)
