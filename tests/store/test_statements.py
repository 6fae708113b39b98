"""The hot statements are portable, name their wallet, and find what they look for by an index."""

import re
from pathlib import Path

import pytest

from faregate.store import statements
from tests.store.books import WALLET
from tests.store.raw import Raw, SqliteRaw

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
    steps = raw.plan(RUN[name])

    whole = [step for step in steps if step.startswith("SCAN") or "Seq Scan" in step]
    assert steps and not [step for step in whole if "charge_open" not in step], steps


def test_the_deferred_keys_of_a_charge_are_looked_up_in_their_own_indexes(tmp_path: Path) -> None:
    raw = SqliteRaw(tmp_path / "raw.db")
    for column, amount in (("settle", "charged"), ("shortfall", "shortfall")):
        statement = f"SELECT 1 FROM charge WHERE wallet_id = ? AND {column}_idem = ? AND {amount} = ?"
        (step,) = raw.plan(statement)
        assert f"charge_{column}" in step
    raw.close()


LOOKED_UP = {
    "account_limit": f"{statements.READ_LIMITS}",
    "charge_open_calls": f"{statements.READ_OPEN}",
    "charge_open_calls_by_key": f"{statements.COUNT_OPEN}",
    "charge_by_key": "SELECT id FROM charge WHERE wallet_id = ? AND key_id = ? AND id < ? ORDER BY id DESC LIMIT 5",
    "answer_until": "SELECT wallet_id, charge_id FROM answer WHERE kept_until <= ? ORDER BY kept_until LIMIT 5",
}
COLUMNS = {
    "account_limit": "account USING btree (wallet_id, key_id, ends_at)",
    "charge_open_calls": "charge USING btree (node, incarnation)",
    "charge_open_calls_by_key": "charge USING btree (wallet_id, key_id)",
    "charge_by_key": "charge USING btree (wallet_id, key_id, id)",
    "answer_until": "answer USING btree (kept_until)",
}


@pytest.mark.parametrize("index", LOOKED_UP)
def test_what_would_walk_a_whole_wallet_has_an_index_of_its_own(raw: Raw, index: str) -> None:
    if isinstance(raw, SqliteRaw):
        assert f"INDEX {index} (" in " ".join(raw.plan(LOOKED_UP[index]))
        return
    # On tables as small as these PostgreSQL may as well take another.
    defined = raw.one(f"SELECT COALESCE(MAX(indexdef), '') FROM pg_indexes WHERE indexname = '{index}'")
    assert COLUMNS[index] in defined


def test_the_transfers_of_a_wallet_are_found_by_an_index(tmp_path: Path) -> None:
    raw = SqliteRaw(tmp_path / "raw.db")
    (step,) = raw.plan("SELECT id FROM transfer WHERE wallet_id = ? AND (debit_id = ? OR credit_id = ?) ORDER BY id")
    assert "transfer_wallet" in step
    raw.close()


def test_a_first_byte_that_is_told_late_finds_nothing_to_change(raw: Raw) -> None:
    raw.reserve("a", 100)
    raw.reserve("b", 100)
    assert raw.connection.execute(statements.STREAMING, (WALLET, "a")).rowcount == 1
    raw.do("UPDATE charge SET state = 'orphaned' WHERE id = 'a'")
    raw.do(raw.released("b"))

    for name in ("a", "b"):
        assert raw.connection.execute(statements.STREAMING, (WALLET, name)).rowcount == 0


def test_what_is_open_of_a_node_is_what_its_older_lives_have_left(raw: Raw) -> None:
    raw.reserve("a", 100)
    left = {
        owner: [row[1] for row in raw.connection.execute(statements.READ_OPEN, (*owner, 9)).fetchall()]
        for owner in (("main", 1), ("main", 2), ("other", 2))
    }

    assert left == {("main", 1): [], ("main", 2): ["a"], ("other", 2): []}
