"""`faregate usage`, `price` and `audit`, as an operator types them.

Method: commands in this process over a real database; the books are spoilt by hand to see the audit say so.
"""

import sqlite3
from pathlib import Path

from tests.cli.conftest import Run

PRICE = (
    "--input", "2", "--output", "6", "--cache-write-5m", "2.5", "--cache-write-1h", "4", "--cache-read", "0.2",
)  # fmt: skip


def test_a_price_for_later_is_appended_and_listed(faregate: Run) -> None:
    added = faregate("price", "add", "claude-haiku-4-5", *PRICE, "--from", "2030-01-01T00:00:00Z", "--json")

    assert (added.code, added.json["id"], added.json["cache_read"]) == (0, "claude-haiku-4-5@2030-01-01", "0.20")
    assert added.json in faregate("price", "list", "--json").json["prices"]
    row = next(line for line in faregate("price", "list").out.splitlines() if "2030" in line)
    assert row.split() == [
        "claude-haiku-4-5@2030-01-01",
        "2030-01-01",
        "00:00:00Z",
        "2.00",
        "6.00",
        "2.50",
        "4.00",
        "0.20",
    ]


def test_a_price_in_force_now_says_its_version(faregate: Run) -> None:
    assert faregate("price", "add", "claude-haiku-4-5", *PRICE).out.startswith("version         claude-haiku-4-5@20")


def test_a_price_in_the_past_is_refused(faregate: Run) -> None:
    refused = faregate("price", "add", "claude-haiku-4-5", *PRICE, "--from", "2020-01-01T00:00:00Z")

    assert (refused.code, refused.out) == (1, "")


def test_usage_of_a_new_wallet_is_an_empty_page(faregate: Run) -> None:
    faregate("wallet", "create", "demo")

    assert faregate("usage", "--wallet", "demo", "--json").json == {"calls": [], "next": None}
    assert faregate("usage").out.split()[:3] == ["at", "id", "model"]
    assert faregate("usage", "--since", "yesterday").code == 1


def test_clean_books_are_exit_code_0(faregate: Run) -> None:
    faregate("wallet", "create", "demo", "--credits", "5")
    audit = faregate("audit", "--json")

    assert (audit.code, audit.json["clean"]) == (0, True)
    assert "The books are clean." in faregate("audit").out


def test_books_that_do_not_add_up_are_exit_code_1_and_name_the_rule(faregate: Run, folder: Path) -> None:
    faregate("wallet", "create", "demo", "--credits", "5")
    with sqlite3.connect(folder / "faregate.db") as books:
        for (trigger,) in books.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            books.execute(f"DROP TRIGGER {trigger}")
        assert books.execute("UPDATE account SET posted = posted + 1 WHERE kind = 'wallet'").rowcount == 1
    books.close()

    audit = faregate("audit", "--json")
    assert (audit.code, audit.json["clean"]) == (1, False)
    broken = [finding["rule"] for finding in audit.json["findings"] if finding["count"]]
    assert broken
    person = faregate("audit")
    assert person.code == 1
    assert "The books are NOT clean." in person.out and broken[0] in person.out
    assert faregate("doctor").code == 1
