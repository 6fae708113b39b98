"""The hot statements are portable, name their wallet, and find what they look for by an index."""

import re

import pytest

from faregate.store import statements
from tests.store.books import Raw

TEXTS = {name: text for name, text in vars(statements).items() if name.isupper() and " " in text.strip()}
RUN = {name: text for name, text in TEXTS.items() if name != "RECEIPT_COLUMNS"}


@pytest.mark.parametrize("name", RUN)
def test_a_statement_speaks_no_dialect(name: str) -> None:
    text = RUN[name]

    assert "%" not in text
    assert not re.search(r"RETURNING|ON CONFLICT|OR REPLACE|OR IGNORE|strftime|datetime\(|unixepoch", text)
    assert "?" not in "".join(re.findall(r"'[^']*'", text)), "a driver translates every ?"


@pytest.mark.parametrize("name", RUN)
def test_a_statement_names_its_wallet(name: str) -> None:
    assert "wallet_id" in RUN[name]


@pytest.mark.parametrize("name", [name for name in RUN if "WHERE" in RUN[name]])
def test_a_statement_scans_no_table(raw: Raw, name: str) -> None:
    plan = raw.connection.execute(f"EXPLAIN QUERY PLAN {RUN[name]}", (0,) * RUN[name].count("?")).fetchall()

    assert not [step for *_, step in plan if step.startswith("SCAN") and "charge_open" not in step], plan
    assert plan


def test_the_deferred_keys_of_a_charge_are_looked_up_in_their_own_indexes(raw: Raw) -> None:
    for column, amount in (("settle", "charged"), ("shortfall", "shortfall")):
        statement = f"SELECT 1 FROM charge WHERE wallet_id = ? AND {column}_idem = ? AND {amount} = ?"
        (*_, step) = raw.connection.execute(f"EXPLAIN QUERY PLAN {statement}", (0, 0, 0)).fetchone()
        assert f"charge_{column}" in step
