"""What the database refuses of single columns: an empty one, a negative amount, a word that is none, a second.

Method: one good row for each table, which is taken; and the same row with one thing wrong, which is not. Where a
trigger would refuse before a check can, the triggers are taken out of the way: each guard stands by itself.
"""

import pytest

from tests.store.books import KEY, WALLET
from tests.store.raw import PostgresRaw, Raw, SqliteRaw

GOOD: dict[str, dict[str, str]] = {
    "meta": {"name": "'x'", "value": "'y'"},
    "node": {"name": "'x'", "incarnation": "1", "started_at": "0", "seen_at": "0"},
    "account": {
        "wallet_id": "'w'", "id": "'w'", "kind": "'wallet'", "name": "'w'", "posted": "0", "held": "0", "floor": "0",
        "last_transfer": "0", "moves": "0", "created_at": "0", "key_id": "NULL", "ends_at": "NULL",
    },
    "price": {
        "id": "'q'", "model": "'m'", "valid_from": "0", "input": "1", "output": "1", "cache_write_5m": "1",
        "cache_write_1h": "1", "cache_read": "1",
    },
    "key": {
        "wallet_id": f"'{WALLET}'", "id": "'k'", "digest": f"x'{'11' * 32}'", "name": "'k'", "models": "'[]'",
        "allow_ips": "'[]'", "deny_ips": "'[]'", "created_at": "0", "quota": "0", "spend_5h": "0", "spend_1d": "0",
        "spend_7d": "0",
    },
    "charge": {
        "wallet_id": f"'{WALLET}'", "id": "'z'", "key_id": f"'{KEY}'", "request_id": "'r'", "body_sha256": "x'00'",
        "model": "'small'", "price_id": "'p'", "state": "'reserved'", "outcome": "NULL", "held": "600",
        "estimated": "9", "input": "0", "output": "0", "cache_read": "0", "cache_write_5m": "0", "cache_write_1h": "0",
        "basis": "'nothing'", "charged": "0", "shortfall": "0", "attempts": "0", "node": "'main'", "incarnation": "1",
        "created_at": "0", "settled_at": "NULL", "settle_idem": "NULL", "shortfall_idem": "NULL",
        "tier": "'standard'",
    },
    "transfer": {
        "wallet_id": f"'{WALLET}'", "idem": "'ref:2'", "kind": "'topup'", "debit_id": "'world'",
        "credit_id": f"'{WALLET}'", "amount": "5", "at": "0",
    },
    "hold": {
        "wallet_id": f"'{WALLET}'", "charge_id": "'a'", "account_id": f"'{WALLET}'", "seq": "2", "amount": "5",
    },
    "rate": {"wallet_id": f"'{WALLET}'", "key_id": f"'{KEY}'", "name": "'requests'", "level": "0", "seen_at": "0"},
    "abandoned": {"wallet_id": f"'{WALLET}'", "key_id": f"'{KEY}'", "lost": "1", "since": "0"},
    "answer": {
        "wallet_id": f"'{WALLET}'", "charge_id": "'a'", "kept_until": "1", "headers": "'[]'", "body": "x'00'",
    },
    "batch": {
        "wallet_id": f"'{WALLET}'", "id": "'b'", "key_id": f"'{KEY}'", "state": "'in_progress'", "total": "1",
        "processing": "1", "succeeded": "0", "errored": "0", "canceled": "0", "expired": "0", "version": "'v'",
        "node": "'main'", "incarnation": "1", "created_at": "0", "expires_at": "1", "emptied": "0",
    },
    "native_batch": {
        "wallet_id": f"'{WALLET}'", "id": "'n'", "batch_id": "'q'", "upstream": "'u'", "state": "'filling'",
        "node": "'main'", "incarnation": "1", "created_at": "0",
    },
    "batch_request": {
        "wallet_id": f"'{WALLET}'", "batch_id": "'q'", "number": "0", "custom_id": "'x'", "charge_id": "'c'",
        "state": "'waiting'", "again_at": "0", "tries": "0", "crashes": "0", "wasted": "0", "params": "x'00'",
    },
}  # fmt: skip
MAY_BE_EMPTY = {
    ("account", "floor"), ("account", "key_id"), ("account", "ends_at"), ("key", "quota"), ("key", "spend_5h"),
    ("key", "spend_1d"), ("key", "spend_7d"), ("charge", "outcome"), ("charge", "settled_at"),
    ("charge", "settle_idem"), ("charge", "shortfall_idem"), ("batch_request", "params"),
}  # fmt: skip
REQUIRED = [(table, column) for table, row in GOOD.items() for column in row if (table, column) not in MAY_BE_EMPTY]

TAKEN = [table for table in GOOD if table != "meta"]
"""What a database that is emptied between tests is rid of."""


def insert(table: str, **changed: str) -> str:
    row = GOOD[table] | changed
    return f"INSERT INTO {table}({', '.join(row)}) VALUES ({', '.join(row.values())})"


def bare(raw: Raw) -> list[str]:
    """What must go before a statement that no trigger shall see."""
    if isinstance(raw, PostgresRaw):
        return ["SET LOCAL session_replication_role = replica"]
    for (name,) in raw.connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.connection.execute(f"DROP TRIGGER {name}")
    return []


@pytest.fixture
def begun(raw: Raw) -> Raw:
    """With a charge `a` that holds, and a batch `q` with a charge `c` that no request has yet."""
    raw.reserve("a", 100)
    raw.do(insert("batch", id="'q'"), insert("charge", id="'c'", tier="'batch'"))
    return raw


@pytest.mark.parametrize("table", TAKEN)
def test_a_good_row_is_taken(begun: Raw, table: str) -> None:
    begun.do(insert(table))


@pytest.mark.parametrize(("table", "column"), REQUIRED)
def test_a_column_that_must_be_filled_is_never_empty(begun: Raw, table: str, column: str) -> None:
    begun.refuses(*bare(begun), insert(table, **{column: "NULL"}), because=f"NOT NULL.*{column}")


@pytest.mark.parametrize("table", [table for table in TAKEN if table != "transfer"])
def test_there_is_no_second_of_what_is_one(begun: Raw, table: str) -> None:
    again = {"price": {"valid_from": "1"}, "key": {"digest": f"x'{'22' * 32}'"}, "account": {"name": "'other'"}}
    begun.do(*bare(begun), insert(table))

    begun.refuses(*bare(begun), insert(table, **again.get(table, {})), because="UNIQUE")


def test_the_schema_has_one_version(raw: Raw) -> None:
    raw.refuses(insert("meta", name="'schema_version'"), because="UNIQUE")


def test_a_transfer_has_a_number_of_its_own(raw: Raw) -> None:
    row = insert("transfer", id="1")
    if isinstance(raw, PostgresRaw):
        first = raw.one("SELECT MIN(id) FROM transfer")
        row = insert("transfer", id=str(first)).replace(") VALUES", ") OVERRIDING SYSTEM VALUE VALUES")

    raw.refuses(row, because="UNIQUE.*(transfer.id|transfer_pkey)")


def test_a_wallet_has_a_name_of_its_own_and_a_price_a_day_of_its_own(raw: Raw) -> None:
    raw.refuses(insert("account", name="'main'"), because="UNIQUE.*(account.name|wallet_name)")
    raw.do(insert("price"))
    raw.refuses(insert("price", id="'r'"), because="UNIQUE.*model")


def test_a_key_has_an_id_of_its_own_in_the_whole_house(raw: Raw) -> None:
    raw.do(insert("account"), insert("key"))

    raw.refuses(insert("key", wallet_id="'w'", digest=f"x'{'22' * 32}'"), because="UNIQUE.*(key.id|key_id_key)")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        *(("price", column) for column in ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")),
        *(("key", column) for column in ("quota", "spend_5h", "spend_1d", "spend_7d")),
        *(("charge", column) for column in ("estimated", "input", "output", "cache_read")),
        *(("charge", column) for column in ("cache_write_5m", "cache_write_1h")),
        *(("batch_request", column) for column in ("number", "tries", "crashes", "wasted")),
        ("hold", "amount"),
        ("account", "held"),
    ],
)  # fmt: skip
def test_an_amount_is_never_below_zero(begun: Raw, table: str, column: str) -> None:
    because = f"CHECK.*({column} >= 0|{table}_{column}_check)"

    begun.refuses(*bare(begun), insert(table, **{column: "-1"}), because=because)


def test_neither_side_of_a_charge_is_below_zero(begun: Raw) -> None:
    sides = {
        "held": {"held": "-1", "charged": "-1", "shortfall": "1", "shortfall_idem": "'shortfall:z'"},
        "charged": {"charged": "-1", "shortfall": "1", "shortfall_idem": "'shortfall:z'"},
        "shortfall": {"charged": "1", "settle_idem": "'settle:z'", "shortfall": "-1"},
    }
    for column, changed in sides.items():
        refused = f"CHECK.*({column} >= 0|charge_{column}_check)"
        begun.refuses(*bare(begun), insert("charge", **changed), because=refused if column != "held" else "CHECK")
    begun.refuses(insert("charge", held="-1"), because="CHECK")


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "'y'", "kind": "'x'"},
        {"floor": "NULL"},
        {"wallet_id": "'operator'", "kind": "'operator'", "id": "'x'"},
        {"wallet_id": "'w'", "kind": "'operator'", "id": "'x'", "floor": "NULL"},
        {"wallet_id": "'operator'", "kind": "'limit'", "id": "'l'", "key_id": "'k'", "ends_at": "9"},
        {"id": "'y'"},
        {"kind": "'limit'", "key_id": "'k'", "ends_at": "9"},
        {"kind": "'limit'", "id": "'l'", "ends_at": "9"},
        {"key_id": "'k'"},
        {"kind": "'limit'", "id": "'l'", "key_id": "'k'"},
        {"ends_at": "9"},
        {"wallet_id": "'operator'", "kind": "'operator'", "id": "'x'", "floor": "NULL", "posted": "5"},
        {"wallet_id": "'operator'", "kind": "'operator'", "id": "'x'", "floor": "NULL", "held": "5"},
        {"posted": "5", "held": "6"},
    ],
)
def test_an_account_is_of_one_kind_with_all_that_belongs_to_it(raw: Raw, changed: dict[str, str]) -> None:
    raw.refuses(*bare(raw), insert("account", **changed), because="CHECK")


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "'x'"},
        {"basis": "'x'"},
        {"state": "'released'", "outcome": "'x'", "settled_at": "1"},
        {"settled_at": "1"},
        {"outcome": "'ok'"},
        {"state": "'released'", "settled_at": "1"},
        {"state": "'released'", "outcome": "'ok'"},
        {"charged": "5", "settle_idem": "'settle:z'", "shortfall": "-5"},
        {"charged": "700", "settle_idem": "'settle:z'", "state": "'settled'", "outcome": "'ok'", "settled_at": "1"},
        {"charged": "5", "state": "'settled'", "outcome": "'ok'", "settled_at": "1"},
        {"settle_idem": "'settle:z'"},
        {"shortfall": "5", "state": "'settled'", "outcome": "'ok'", "settled_at": "1"},
        {"shortfall_idem": "'shortfall:z'"},
        {"charged": "5", "settle_idem": "'settle:z'", "state": "'released'", "outcome": "'ok'", "settled_at": "1"},
        {"shortfall": "5", "shortfall_idem": "'shortfall:z'", "state": "'settled'", "outcome": "'shutdown'",
         "settled_at": "1"},
    ],
)  # fmt: skip
def test_a_charge_says_one_thing_with_all_its_columns(raw: Raw, changed: dict[str, str]) -> None:
    raw.refuses(*bare(raw), insert("charge", **changed), because="CHECK")


def test_every_state_outcome_and_basis_has_its_name(raw: Raw) -> None:
    prefix = bare(raw)
    for number, state in enumerate(("reserved", "streaming", "orphaned")):
        raw.do(*prefix, insert("charge", id=f"'s{number}'", state=f"'{state}'"))
    ended = {"settled_at": "1"}
    for number, outcome in enumerate(
        ("ok", "client_gone", "upstream_error", "gateway_error", "gateway_crash", "shutdown")
    ):
        for state in ("settled", "released"):
            row = ended | {"id": f"'{state}{number}'", "state": f"'{state}'", "outcome": f"'{outcome}'"}
            raw.do(*prefix, insert("charge", **row))
    for basis in ("upstream", "counted", "nothing"):
        raw.do(*prefix, insert("charge", id=f"'{basis}'", basis=f"'{basis}'"))


def test_a_digest_is_as_long_as_a_digest(raw: Raw) -> None:
    for length in (31, 33):
        raw.refuses(insert("key", digest=f"x'{'11' * length}'"), because="CHECK")


@pytest.mark.parametrize(
    "column",
    ["id", "digest", "name", "models", "allow_ips", "deny_ips", "created_at", "expires_at", "quota", "spend_5h",
     "spend_1d", "spend_7d", "requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute",
     "concurrency", "wallet_id"],
)  # fmt: skip
def test_no_column_of_a_key_changes(raw: Raw, column: str) -> None:
    raw.refuses(f"UPDATE key SET {column} = {column}", because="what a key is")


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("hold", "wallet_id charge_id account_id seq amount"),
        (
            "charge",
            "wallet_id id key_id request_id body_sha256 model price_id held estimated node incarnation created_at tier",
        ),
        ("account", "wallet_id id kind key_id created_at ends_at"),
    ],
)
def test_no_column_that_says_what_a_row_is_changes(begun: Raw, table: str, columns: str) -> None:
    for column in columns.split():
        begun.refuses(f"UPDATE {table} SET {column} = {column}", because=f"what an? {table} is")


@pytest.mark.parametrize("table", ["account", "transfer", "hold", "charge", "price", "key"])
def test_nothing_is_ever_emptied(postgres_raw: PostgresRaw, table: str) -> None:
    postgres_raw.refuses(f"TRUNCATE {table} CASCADE", because=f"{table}( version)?s are never deleted")


@pytest.mark.parametrize("column", ["posted", "last_transfer", "held", "moves", "moved_by"])
def test_no_balance_is_written_by_hand_even_to_what_it_is(raw: Raw, column: str) -> None:
    raw.refuses(f"UPDATE account SET {column} = {column} WHERE id = '{WALLET}'", because="changes by a")


def test_every_column_that_must_be_filled_is_tried() -> None:
    raw = SqliteRaw(None)
    required = {
        (table, row[1])
        for table in GOOD
        for row in raw.connection.execute(f"PRAGMA table_info({table})").fetchall()
        if row[3]
    }
    assert required - {("transfer", "id")} <= {*REQUIRED}, "a column that must be filled is not tried"
    raw.close()
