"""What the database itself refuses, in SQL that no program of ours would write.

Method: the books of one wallet with 1,000 in it, and one forbidden act each. Every act has its twin that is allowed,
so that a refusal is for the reason it names; and whatever was refused has left no trace.
"""

from pathlib import Path

import pytest

from tests.store.books import WALLET
from tests.store.raw import PostgresRaw, Raw, SqliteRaw

# Balances ---------------------------------------------------------------------------------------------------------


def test_a_hold_above_what_is_there_is_refused(raw: Raw) -> None:
    raw.reserve("a", 600)

    raw.refuses(raw.charge("b", 401), raw.hold("b", 401), because="no_overdraft")
    raw.reserve("b", 400)

    assert raw.funds == (1_000, 1_000)


def test_a_transfer_out_of_what_is_held_is_refused(raw: Raw) -> None:
    raw.reserve("a", 600)

    raw.refuses(raw.transfer("ref:2", "adjust", (WALLET, "world"), 401), because="no_overdraft")
    raw.do(raw.transfer("ref:2", "adjust", (WALLET, "world"), 400))

    assert raw.funds == (600, 600)


def test_a_floor_that_was_lowered_is_the_floor(raw: Raw) -> None:
    raw.do(
        "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'w', -50, 0)",
    )
    out = raw.transfer("ref:3", "adjust", (WALLET, "world"), 50).replace(f"'{WALLET}'", "'w'")

    raw.do(out)
    raw.refuses(out.replace("ref:3", "ref:4").replace("50", "1"), because="no_overdraft")


@pytest.mark.parametrize(
    "change",
    [
        "posted = posted + 5",
        "posted = posted + 1000, last_transfer = last_transfer + 1",
        "posted = posted + 1000, last_transfer = 1",
        "last_transfer = last_transfer + 1",
    ],
)
def test_a_posted_balance_that_no_transfer_explains_is_refused(raw: Raw, change: str) -> None:
    raw.refuses(f"UPDATE account SET {change} WHERE id = '{WALLET}'", because="by a transfer only")


@pytest.mark.parametrize(
    "change",
    [
        "held = held - 1",
        "held = held - 300",
        "held = held - 200, moves = moves + 1",
        "held = held - 200, moves = moves + 1, moved_by = 'a'",
        "held = held - 300, moves = moves + 1, moved_by = 'b'",
        "held = held - 200, moves = 2, moved_by = 'a'",
        "held = held + 300, moved_by = 'b'",
        "held = held + 300, moves = moves + 1, moved_by = 'b'",
        "moves = moves + 1, moved_by = 'a'",
        "moved_by = 'b'",
        "moves = 0",
    ],
)
def test_a_held_balance_that_no_hold_explains_is_refused(raw: Raw, change: str) -> None:
    raw.reserve("a", 200)
    raw.do(raw.released("a"))
    raw.reserve("b", 300)

    raw.refuses(f"UPDATE account SET {change} WHERE id = '{WALLET}'", because="by a hold only")


def test_an_end_that_was_counted_is_not_counted_again(raw: Raw) -> None:
    raw.reserve("a", 600)
    raw.reserve("b", 300)
    raw.do(raw.released("a"))
    moves = raw.one(f"SELECT moves FROM account WHERE id = '{WALLET}'")
    assert raw.one("SELECT closed FROM hold WHERE charge_id = 'a'") == moves

    for claimed in (moves, moves + 1):
        raw.refuses(
            f"UPDATE account SET held = held - 600 + 300, moves = {claimed}, moved_by = 'a' WHERE id = '{WALLET}'",
            because="by a hold only",
        )


def test_an_account_is_born_empty(raw: Raw) -> None:
    for column in ("posted", "held", "moves", "last_transfer"):
        raw.refuses(
            f"INSERT INTO account(wallet_id, id, kind, name, floor, created_at, {column}) "
            "VALUES ('w', 'w', 'wallet', 'w', -99, 0, 5)",
            because="opened empty",
        )


@pytest.mark.parametrize(
    "change", ["wallet_id = 'x'", "id = 'x'", "kind = 'operator'", "key_id = 'x'", "ends_at = 9", "created_at = 9"]
)
def test_what_an_account_is_does_not_change(raw: Raw, change: str) -> None:
    raw.refuses(f"UPDATE account SET {change} WHERE id = '{WALLET}'", because="what an account is")


def test_an_account_that_loses_its_floor_is_refused(raw: Raw) -> None:
    raw.refuses(f"UPDATE account SET floor = NULL WHERE id = '{WALLET}'", because="CHECK")


def test_an_operator_account_keeps_no_balance(raw: Raw) -> None:
    between = raw.transfer("cap:revenue", "cap", ("limits", "revenue"), 5).replace(f"'{WALLET}'", "'operator'")
    raw.refuses(between, because="CHECK")
    assert raw.one("SELECT COUNT(*) FROM account WHERE kind = 'operator' AND posted = 0 AND held = 0") == 8
    raw.refuses("UPDATE account SET posted = -1000, last_transfer = 1 WHERE id = 'world'", because="by a transfer only")


@pytest.mark.parametrize("table", ["account", "transfer", "hold", "charge", "price", "key"])
def test_nothing_is_ever_deleted(raw: Raw, table: str) -> None:
    raw.reserve("a")
    raw.settle("a", 100)

    raw.refuses(f"DELETE FROM {table}", because="never deleted")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO price SELECT id, model, valid_from, 2, 2, 2, 2, 2 FROM price WHERE true "
        "ON CONFLICT(id) DO UPDATE SET input = excluded.input",
        "INSERT INTO transfer(wallet_id, idem, kind, debit_id, credit_id, amount, charge_id, at) "
        "SELECT wallet_id, idem, kind, debit_id, credit_id, amount, charge_id, at FROM transfer WHERE true "
        "ON CONFLICT(wallet_id, idem) DO UPDATE SET amount = excluded.amount + 1",
    ],
)
def test_nothing_is_written_over_either(raw: Raw, statement: str) -> None:
    raw.refuses(statement, because="never edited")


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("transfer", "id, wallet_id, idem, kind, debit_id, credit_id, amount + 1, charge_id, at, memo"),
        ("price", "id, model, valid_from, input + 1, output, cache_write_5m, cache_write_1h, cache_read"),
    ],
)
def test_nothing_is_replaced_in_a_file(tmp_path: Path, table: str, columns: str) -> None:
    raw = SqliteRaw(tmp_path / "raw.db")

    raw.refuses(f"REPLACE INTO {table} SELECT {columns} FROM {table} LIMIT 1", because="never")
    raw.close()


@pytest.mark.parametrize("table", ["account", "transfer", "hold", "charge", "price", "key"])
def test_nothing_is_emptied_at_a_stroke(postgres_raw: PostgresRaw, table: str) -> None:
    postgres_raw.refuses(f"TRUNCATE {table} CASCADE", because="never deleted")


@pytest.mark.parametrize(
    "account",
    [
        "'w', 'w', 'wallet', 'w', NULL, NULL, NULL",
        "'w', 'o', 'operator', 'o', NULL, NULL, NULL",
        "'operator', 'o', 'operator', 'o', NULL, 0, NULL",
        "'operator', 'l', 'limit', 'quota', 'k', 0, 9",
        "'w', 'x', 'wallet', 'w', NULL, 0, NULL",
        "'w', 'w', 'limit', 'quota', 'k', 0, 9",
        "'w', 'l', 'limit', 'quota', NULL, 0, 9",
        "'w', 'l', 'limit', 'quota', 'k', 0, NULL",
        "'w', 'w', 'wallet', 'w', 'k', 0, NULL",
        "'w', 'w', 'wallet', 'w', NULL, 0, 9",
        "'w', 'w', 'purse', 'w', NULL, 0, NULL",
    ],
)
def test_an_account_is_a_wallet_a_limit_or_the_operators(raw: Raw, account: str) -> None:
    into = "INSERT INTO account(created_at, wallet_id, id, kind, name, key_id, floor, ends_at) VALUES (0, {})"

    raw.refuses(into.format(account), because="CHECK")


def test_a_wallets_name_is_its_own(raw: Raw) -> None:
    raw.refuses(
        "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'main', 0, 0)",
        because="UNIQUE",
    )


# Transfers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["amount = 1", "memo = 'x'", "debit_id = 'revenue'", "at = 5"])
def test_a_transfer_is_never_edited(raw: Raw, change: str) -> None:
    raw.refuses(f"UPDATE transfer SET {change}", because="never edited")


def test_a_reference_moves_money_once(raw: Raw) -> None:
    raw.refuses(raw.transfer("ref:1", "topup", ("world", WALLET), 1_000), because="UNIQUE")
    raw.refuses(raw.transfer("ref:1", "adjust", ("world", WALLET), 7), because="UNIQUE")


def test_a_reference_is_one_in_the_whole_house(raw: Raw) -> None:
    raw.do("INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'w', 0, 0)")

    raw.refuses(
        raw.transfer("ref:1", "topup", ("world", WALLET), 1_000).replace(f"'{WALLET}'", "'w'"),
        because="transfer.idem|transfer_reference",
    )


@pytest.mark.parametrize("amount", [0, -5])
def test_a_transfer_moves_something_forward(raw: Raw, amount: int) -> None:
    raw.refuses(raw.transfer("ref:2", "topup", ("world", WALLET), amount), because="CHECK")


@pytest.mark.parametrize(
    ("idem", "kind", "sides", "charge"),
    [
        ("ref:2", "gift", ("world", WALLET), "NULL"),
        ("ref:2", "topup", (WALLET, "world"), "NULL"),
        ("ref:2", "topup", ("revenue", WALLET), "NULL"),
        ("settle:x", "topup", ("world", WALLET), "NULL"),
        ("ref:2", "topup", ("world", WALLET), "a"),
        ("ref:2", "adjust", (WALLET, "revenue"), "NULL"),
        ("settle:a", "settle", (WALLET, "world"), "a"),
        ("settle:a", "settle", ("world", "revenue"), "a"),
        ("settle:b", "settle", (WALLET, "revenue"), "a"),
        ("settle:a", "settle", (WALLET, "revenue"), "NULL"),
        ("shortfall:a", "shortfall", (WALLET, "revenue"), "a"),
        ("loss:a", "loss", (WALLET, "revenue"), "a"),
        ("loss:a", "loss", ("crash_loss", WALLET), "a"),
        ("cap:w", "cap", ("limits", WALLET), "NULL"),
        (f"limit:a:{WALLET}", "limit", (WALLET, "revenue"), "a"),
        (f"limit:a:{WALLET}", "limit", (WALLET, "limits"), "a"),
    ],
)
def test_a_kind_of_transfer_has_its_own_accounts_and_its_own_name(
    raw: Raw, idem: str, kind: str, sides: tuple[str, str], charge: str
) -> None:
    raw.reserve("a")

    raw.refuses(
        raw.settled("a", 100, 100),
        raw.transfer(idem, kind, sides, 100, charge),
        because="kind_of_transfer",
    )


def test_a_transfer_to_nobody_is_refused(raw: Raw) -> None:
    raw.refuses(raw.transfer("cap:nobody", "cap", ("limits", "nobody"), 5), because="unknown accounts")
    raw.refuses(
        raw.transfer("ref:9", "topup", ("world", WALLET), 5).replace(f"'{WALLET}'", "'nobody'"),
        because="unknown accounts",
    )


def test_an_account_is_reached_through_its_own_wallet_only(raw: Raw) -> None:
    raw.do(
        "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'w', 0, 0)",
        "INSERT INTO account(wallet_id, id, kind, name, key_id, floor, created_at, ends_at) "
        "VALUES ('w', 'l', 'limit', 'quota', 'k', 0, 0, 9)",
    )

    raw.refuses(raw.transfer("cap:l", "cap", ("limits", "l"), 5), because="unknown accounts")


# Prices and keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["input = 2", "valid_from = 5", "id = 'q'", "model = 'x'"])
def test_a_price_version_is_never_edited(raw: Raw, change: str) -> None:
    raw.refuses(f"UPDATE price SET {change}", because="never edited")


@pytest.mark.parametrize(
    "change", ["quota = 5", "models = '[\"x\"]'", "wallet_id = 'x'", "expires_at = NULL", "name = 'x'"]
)
def test_what_a_key_is_does_not_change(raw: Raw, change: str) -> None:
    raw.refuses(f"UPDATE key SET {change}", because="what a key is")


def test_a_key_belongs_to_a_wallet(raw: Raw) -> None:
    into = "INSERT INTO key(id, wallet_id, digest, name, models, allow_ips, deny_ips, created_at) "
    row = "VALUES ('k', '{}', x'{}', 'k', '[]', '[]', '[]', 0)"

    raw.refuses(into + row.format("nobody", "11" * 32), because="FOREIGN KEY")
    raw.refuses(into + row.format(WALLET, "11" * 31), because="CHECK")
    raw.refuses(into + row.format(WALLET, "00" * 32), because="UNIQUE")
    raw.do(into + row.format(WALLET, "11" * 32))


def test_a_key_that_was_revoked_stays_revoked(raw: Raw) -> None:
    raw.do("UPDATE key SET revoked_at = 5")

    raw.refuses("UPDATE key SET revoked_at = NULL", because="revoked once")
    raw.refuses("UPDATE key SET revoked_at = 6", because="revoked once")
