"""What the database itself refuses, in SQL that no program of ours would write.

Method: the books of one wallet with 1,000 in it, and one forbidden act each. Every act has its twin that is allowed,
so that a refusal is for the reason it names; and whatever was refused has left no trace.
"""

import sqlite3

import pytest

from tests.store.books import KEY, WALLET, Raw


def refused(raw: Raw, *statements: str, because: str) -> None:
    before = list(raw.connection.iterdump())
    with pytest.raises(sqlite3.IntegrityError, match=because):
        raw.do(*statements)
    assert list(raw.connection.iterdump()) == before


def funds(raw: Raw) -> tuple[int, int]:
    row: tuple[int, int] = raw.connection.execute("SELECT posted, held FROM account WHERE id = ?", (WALLET,)).fetchone()
    return row


# Balances ---------------------------------------------------------------------------------------------------------


def test_a_hold_above_what_is_there_is_refused(raw: Raw) -> None:
    raw.reserve("a", 600)

    refused(raw, raw.charge("b", 401), raw.hold("b", 401), because="no_overdraft")
    raw.reserve("b", 400)

    assert funds(raw) == (1_000, 1_000)


def test_a_transfer_out_of_what_is_held_is_refused(raw: Raw) -> None:
    raw.reserve("a", 600)

    refused(raw, raw.transfer("ref:2", "adjust", (WALLET, "world"), 401), because="no_overdraft")
    raw.do(raw.transfer("ref:2", "adjust", (WALLET, "world"), 400))

    assert funds(raw) == (600, 600)


def test_a_floor_that_was_lowered_is_the_floor(raw: Raw) -> None:
    raw.do(
        "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'w', -50, 0)",
    )
    out = raw.transfer("ref:3", "adjust", (WALLET, "world"), 50).replace(f"'{WALLET}'", "'w'")

    raw.do(out)
    refused(raw, out.replace("ref:3", "ref:4").replace("50", "1"), because="no_overdraft")


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
    refused(raw, f"UPDATE account SET {change} WHERE id = '{WALLET}'", because="by a transfer only")


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
        "moves = moves + 1, moved_by = 'a'",
        "moved_by = 'b'",
        "moves = 0",
    ],
)
def test_a_held_balance_that_no_hold_explains_is_refused(raw: Raw, change: str) -> None:
    raw.reserve("a", 200)
    raw.do(raw.released("a"))
    raw.reserve("b", 300)

    refused(raw, f"UPDATE account SET {change} WHERE id = '{WALLET}'", because="by a hold only")


def test_an_end_that_was_counted_is_not_counted_again(raw: Raw) -> None:
    raw.reserve("a", 600)
    raw.reserve("b", 300)
    raw.do(raw.released("a"))
    moves = raw.one(f"SELECT moves FROM account WHERE id = '{WALLET}'")
    assert raw.one("SELECT closed FROM hold WHERE charge_id = 'a'") == moves

    for claimed in (moves, moves + 1):
        refused(
            raw,
            f"UPDATE account SET held = held - 600 + 300, moves = {claimed}, moved_by = 'a' WHERE id = '{WALLET}'",
            because="by a hold only",
        )


def test_an_account_is_born_empty(raw: Raw) -> None:
    for column in ("posted", "held", "moves", "last_transfer"):
        refused(
            raw,
            f"INSERT INTO account(wallet_id, id, kind, name, floor, created_at, {column}) "
            "VALUES ('w', 'w', 'wallet', 'w', -99, 0, 5)",
            because="opened empty",
        )


@pytest.mark.parametrize(
    "change", ["wallet_id = 'x'", "id = 'x'", "kind = 'operator'", "key_id = 'x'", "ends_at = 9", "created_at = 9"]
)
def test_what_an_account_is_does_not_change(raw: Raw, change: str) -> None:
    refused(raw, f"UPDATE account SET {change} WHERE id = '{WALLET}'", because="what an account is")


def test_an_account_that_loses_its_floor_is_refused(raw: Raw) -> None:
    refused(raw, f"UPDATE account SET floor = NULL WHERE id = '{WALLET}'", because="CHECK")


def test_an_operator_account_keeps_no_balance(raw: Raw) -> None:
    between = raw.transfer("cap:revenue", "cap", ("limits", "revenue"), 5).replace(f"'{WALLET}'", "'operator'")
    refused(raw, between, because="CHECK")
    assert raw.one("SELECT COUNT(*) FROM account WHERE kind = 'operator' AND posted = 0 AND held = 0") == 8
    refused(
        raw, "UPDATE account SET posted = -1000, last_transfer = 1 WHERE id = 'world'", because="by a transfer only"
    )


@pytest.mark.parametrize("table", ["account", "transfer", "hold", "charge", "price", "key"])
def test_nothing_is_ever_deleted(raw: Raw, table: str) -> None:
    raw.reserve("a")
    raw.settle("a", 100)

    refused(raw, f"DELETE FROM {table}", because="never deleted")


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("transfer", "id, wallet_id, idem, kind, debit_id, credit_id, amount + 1, charge_id, at, memo"),
        ("price", "id, model, valid_from, input + 1, output, cache_write_5m, cache_write_1h, cache_read"),
    ],
)
def test_nothing_is_replaced_either(raw: Raw, table: str, columns: str) -> None:
    refused(raw, f"REPLACE INTO {table} SELECT {columns} FROM {table} LIMIT 1", because="never")


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

    refused(raw, into.format(account), because="CHECK")


def test_a_wallets_name_is_its_own(raw: Raw) -> None:
    refused(
        raw,
        "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'main', 0, 0)",
        because="UNIQUE",
    )


# Transfers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["amount = 1", "memo = 'x'", "debit_id = 'revenue'", "at = 5"])
def test_a_transfer_is_never_edited(raw: Raw, change: str) -> None:
    refused(raw, f"UPDATE transfer SET {change}", because="never edited")


def test_a_reference_moves_money_once(raw: Raw) -> None:
    refused(raw, raw.transfer("ref:1", "topup", ("world", WALLET), 1_000), because="UNIQUE")
    refused(raw, raw.transfer("ref:1", "adjust", ("world", WALLET), 7), because="UNIQUE")


def test_a_reference_is_one_in_the_whole_house(raw: Raw) -> None:
    raw.do("INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'w', 0, 0)")

    refused(
        raw,
        raw.transfer("ref:1", "topup", ("world", WALLET), 1_000).replace(f"'{WALLET}'", "'w'"),
        because="transfer.idem",
    )


@pytest.mark.parametrize("amount", [0, -5])
def test_a_transfer_moves_something_forward(raw: Raw, amount: int) -> None:
    refused(raw, raw.transfer("ref:2", "topup", ("world", WALLET), amount), because="CHECK")


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

    refused(
        raw,
        raw.settled("a", 100, 100),
        raw.transfer(idem, kind, sides, 100, charge),
        because="kind_of_transfer",
    )


def test_a_transfer_to_nobody_is_refused(raw: Raw) -> None:
    refused(raw, raw.transfer("cap:nobody", "cap", ("limits", "nobody"), 5), because="unknown accounts")
    refused(
        raw,
        raw.transfer("ref:9", "topup", ("world", WALLET), 5).replace(f"'{WALLET}'", "'nobody'"),
        because="unknown accounts",
    )


def test_an_account_is_reached_through_its_own_wallet_only(raw: Raw) -> None:
    raw.do(
        "INSERT INTO account(wallet_id, id, kind, name, floor, created_at) VALUES ('w', 'w', 'wallet', 'w', 0, 0)",
        "INSERT INTO account(wallet_id, id, kind, name, key_id, floor, created_at, ends_at) "
        "VALUES ('w', 'l', 'limit', 'quota', 'k', 0, 0, 9)",
    )

    refused(raw, raw.transfer("cap:l", "cap", ("limits", "l"), 5), because="unknown accounts")


# Holds ------------------------------------------------------------------------------------------------------------


def test_a_hold_on_a_charge_that_has_ended_is_refused(raw: Raw) -> None:
    for name, end in (("a", raw.settled("a", 0)), ("b", raw.released("b"))):
        raw.reserve(name, 100)
        raw.do(end)
        refused(raw, raw.hold(name, 1), because="a hold is taken open")


def test_a_hold_for_an_orphan_or_for_nobody_is_refused(raw: Raw) -> None:
    raw.reserve("a", 100)
    raw.do("UPDATE charge SET state = 'orphaned' WHERE id = 'a'")

    refused(raw, raw.hold("a", 1), because="a hold is taken open")
    refused(raw, raw.hold("none", 1), because="a hold is taken open")


def test_a_hold_is_the_next_move_of_its_account(raw: Raw) -> None:
    raw.do(raw.charge("a"))
    hold = "INSERT INTO hold(wallet_id, charge_id, account_id, seq, amount, closed) VALUES ('{}', 'a', '{}', {}, 5, {})"

    for wrong in (
        hold.format(WALLET, WALLET, 2, "NULL"),
        hold.format(WALLET, WALLET, 0, "NULL"),
        hold.format(WALLET, WALLET, 1, 1),
        hold.format(WALLET, "nobody", 1, "NULL"),
        hold.format("operator", "world", 1, "NULL"),
    ):
        refused(raw, wrong, because="a hold is taken open")
    raw.do(hold.format(WALLET, WALLET, 1, "NULL"))


@pytest.mark.parametrize("change", ["amount = 1", "amount = 9999", "account_id = 'x'", "charge_id = 'b'", "seq = 7"])
def test_what_a_hold_is_does_not_change(raw: Raw, change: str) -> None:
    raw.reserve("a")

    refused(raw, f"UPDATE hold SET {change}", because="what a hold is")


def test_a_hold_of_an_open_charge_is_not_freed(raw: Raw) -> None:
    raw.reserve("a")

    refused(raw, "UPDATE hold SET closed = 2", because="freed once")


def test_a_hold_that_was_freed_is_not_opened_again(raw: Raw) -> None:
    raw.reserve("a")
    raw.do(raw.released("a"))
    assert funds(raw) == (1_000, 0)

    refused(raw, "UPDATE hold SET closed = NULL", because="freed once")
    refused(raw, "UPDATE hold SET closed = 3", because="freed once")


# Charges ----------------------------------------------------------------------------------------------------------


def test_a_settle_whose_ledger_row_matches_is_taken(raw: Raw) -> None:
    raw.reserve("a")
    raw.settle("a", 600)

    assert funds(raw) == (400, 0)


def test_a_settle_without_its_ledger_row_is_refused(raw: Raw) -> None:
    raw.reserve("a")

    refused(raw, raw.settled("a", 100), because="FOREIGN KEY")


def test_a_settle_with_another_amount_than_its_ledger_row_is_refused(raw: Raw) -> None:
    raw.reserve("a")

    for amount in (99, 101):
        refused(
            raw,
            raw.settled("a", 100),
            raw.transfer("settle:a", "settle", (WALLET, "revenue"), amount, "a"),
            because="its charge does not explain",
        )


def test_a_settle_that_names_another_row_or_none_is_refused(raw: Raw) -> None:
    raw.reserve("a", 100)
    raw.settle("a", 100)
    raw.reserve("b", 100)

    for other in ("'settle:a'", "NULL"):
        refused(raw, raw.settled("b", 100).replace("'settle:b'", other), because="CHECK")


def test_a_ledger_row_without_its_settle_is_refused(raw: Raw) -> None:
    raw.reserve("a")

    refused(
        raw,
        raw.transfer("settle:a", "settle", (WALLET, "revenue"), 100, "a"),
        because="its charge does not explain",
    )


def test_a_shortfall_without_its_ledger_row_is_refused(raw: Raw) -> None:
    raw.reserve("a")
    row = raw.transfer("settle:a", "settle", (WALLET, "revenue"), 600, "a")
    short = raw.transfer("shortfall:a", "shortfall", ("shortfall", "revenue"), 50, "a")

    refused(raw, raw.settled("a", 600, 50), row, because="FOREIGN KEY")
    refused(raw, raw.settled("a", 600, 50), row, short.replace(" 50,", " 49,"), because="its charge does not explain")
    raw.do(raw.settled("a", 600, 50), row, short)

    assert funds(raw) == (400, 0)


def test_a_capture_above_the_hold_is_refused(raw: Raw) -> None:
    raw.reserve("a", 600)

    refused(
        raw,
        raw.settled("a", 601),
        raw.transfer("settle:a", "settle", (WALLET, "revenue"), 601, "a"),
        because="charged is more than held|CHECK",
    )


def test_a_capture_above_holds_that_were_only_claimed_is_refused(raw: Raw) -> None:
    raw.do(raw.charge("a", held=600), raw.hold("a", 500))

    refused(
        raw,
        raw.settled("a", 501),
        raw.transfer("settle:a", "settle", (WALLET, "revenue"), 501, "a"),
        because="charged is more than held",
    )


def test_a_capture_above_what_the_receipt_says_was_held_is_refused(raw: Raw) -> None:
    raw.do(raw.charge("a", held=500), raw.hold("a", 600))

    row = raw.transfer("settle:a", "settle", (WALLET, "revenue"), 501, "a")
    refused(raw, raw.settled("a", 501), row, because="CHECK")


def test_a_shortfall_that_names_no_row_is_refused(raw: Raw) -> None:
    raw.reserve("a", 0)

    refused(raw, raw.settled("a", 0, 50).replace("'shortfall:a'", "NULL"), because="CHECK")


def test_a_limit_pays_for_a_charge_that_was_held_on_it_and_what_it_cost(raw: Raw) -> None:
    limit = "INSERT INTO account(wallet_id, id, kind, name, key_id, floor, created_at, ends_at) VALUES "
    for name in ("l", "m"):
        raw.do(limit + f"('{WALLET}', '{name}', 'limit', 'quota', '{KEY}', 0, 0, 9)")
        raw.do(raw.transfer(f"cap:{name}", "cap", ("limits", name), 600))
    raw.reserve("a")
    raw.do(raw.hold("a", account="l"))
    because = "its charge does not explain"
    refused(raw, raw.transfer("limit:a:l", "limit", ("l", "limits"), 100, "a"), because=because)
    raw.settle("a", 100)

    refused(raw, raw.transfer("limit:a:l", "limit", ("l", "limits"), 99, "a"), because=because)
    refused(raw, raw.transfer("limit:a:m", "limit", ("m", "limits"), 100, "a"), because=because)
    raw.do(raw.transfer("limit:a:l", "limit", ("l", "limits"), 100, "a"))
    assert raw.one("SELECT posted - held FROM account WHERE id = 'l'") == 500


def test_a_loss_is_booked_once(raw: Raw) -> None:
    raw.reserve("a")
    raw.do(raw.released("a"), raw.transfer("loss:a", "loss", ("crash_loss", "revenue"), 5, "a"))

    refused(raw, raw.transfer("loss:a", "loss", ("crash_loss", "revenue"), 6, "a"), because="UNIQUE")


def test_an_open_charge_has_lost_nothing_yet(raw: Raw) -> None:
    raw.reserve("a")

    because = "its charge does not explain"
    refused(raw, raw.transfer("loss:a", "loss", ("crash_loss", "revenue"), 5, "a"), because=because)


def test_a_second_settle_is_refused(raw: Raw) -> None:
    raw.reserve("a")
    raw.settle("a", 100)

    refused(raw, raw.settled("a", 100), because="has ended")
    refused(raw, raw.settled("a", 200), because="has ended")
    refused(raw, raw.transfer("settle:a", "settle", (WALLET, "revenue"), 100, "a"), because="UNIQUE")


@pytest.mark.parametrize(
    "change",
    [
        "state = 'streaming'",
        "state = 'released'",
        "outcome = 'client_gone'",
        "input = 5",
        "upstream = 'x'",
        "attempts = 9",
    ],
)
def test_a_charge_that_has_ended_does_not_change(raw: Raw, change: str) -> None:
    raw.reserve("a", 100)
    raw.settle("a", 100)
    raw.reserve("b", 100)
    raw.do(raw.released("b"))

    for name in ("a", "b"):
        refused(raw, f"UPDATE charge SET {change} WHERE id = '{name}'", because="has ended")


@pytest.mark.parametrize(
    ("path", "then"),
    [
        (["streaming"], "reserved"),
        (["orphaned"], "reserved"),
        (["orphaned"], "streaming"),
        (["streaming", "orphaned"], "streaming"),
    ],
)
def test_a_charge_never_goes_back(raw: Raw, path: list[str], then: str) -> None:
    raw.reserve("a")
    for state in path:
        raw.do(f"UPDATE charge SET state = '{state}'")

    refused(raw, f"UPDATE charge SET state = '{then}'", because="from that state to this")


def test_a_charge_begins_reserved_and_ends_with_an_outcome(raw: Raw) -> None:
    refused(raw, raw.charge("a").replace("incarnation,", "incarnation, state,").replace("1, 0)", "1, 'orphaned', 0)"),
            because="begins reserved")  # fmt: skip
    raw.reserve("a")
    refused(raw, "UPDATE charge SET state = 'released', settled_at = 1", because="CHECK")
    refused(raw, "UPDATE charge SET state = 'released', outcome = 'ok'", because="CHECK")
    refused(raw, "UPDATE charge SET state = 'nowhere'", because="CHECK|from that state")


@pytest.mark.parametrize(
    "change",
    [
        "wallet_id = 'x'",
        "id = 'x'",
        "key_id = 'x'",
        "price_id = 'q'",
        "model = 'x'",
        "held = 9999",
        "estimated = 1",
        "body_sha256 = x'11'",
        "node = 'x'",
        "incarnation = 2",
        "created_at = 5",
    ],
)
def test_what_a_charge_is_does_not_change(raw: Raw, change: str) -> None:
    raw.reserve("a")

    refused(raw, f"UPDATE charge SET {change}", because="what a charge is")


def test_an_error_is_never_billed(raw: Raw) -> None:
    raw.reserve("a")
    row = raw.transfer("settle:a", "settle", (WALLET, "revenue"), 100, "a")

    for outcome in ("upstream_error", "gateway_error", "gateway_crash", "shutdown"):
        refused(raw, raw.settled("a", 100).replace("'ok'", f"'{outcome}'"), row, because="an_error_is_never_billed")
    raw.do(raw.settled("a", 100).replace("'ok'", "'client_gone'"), row)


def test_a_release_costs_nothing(raw: Raw) -> None:
    raw.reserve("a")

    refused(
        raw, raw.settled("a", 100).replace("'settled'", "'released'"), because="only_a_settled_charge_costs|its charge"
    )


def test_an_open_charge_costs_nothing(raw: Raw) -> None:
    raw.reserve("a")

    refused(raw, "UPDATE charge SET charged = 5, settle_idem = 'settle:a'", because="only_a_settled_charge_costs")


def test_an_idempotency_key_is_used_once_and_freed_by_a_release_only(raw: Raw) -> None:
    with_key = (
        raw.charge("{}", 100).replace("key_id,", "key_id, idem_key,", 1).replace(f"'{KEY}',", f"'{KEY}', 'same',")
    )
    raw.do(with_key.format("a"), raw.hold("a", 100))

    refused(raw, with_key.format("b"), because="UNIQUE")
    refused(raw, "UPDATE charge SET idem_key = NULL", because="freed by a release only")
    refused(raw, "UPDATE charge SET idem_key = 'other'", because="freed by a release only")
    raw.do(raw.released("a").replace("settled_at = 1", "settled_at = 1, idem_key = NULL"))
    raw.do(with_key.format("b"))


def test_a_charge_has_a_key_and_a_price_that_exist(raw: Raw) -> None:
    refused(raw, raw.charge("a").replace(f"'{KEY}'", "'nobody'"), because="FOREIGN KEY")
    refused(raw, raw.charge("a").replace("'p'", "'nothing'"), because="FOREIGN KEY")


# Prices and keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["input = 2", "valid_from = 5", "id = 'q'", "model = 'x'"])
def test_a_price_version_is_never_edited(raw: Raw, change: str) -> None:
    refused(raw, f"UPDATE price SET {change}", because="never edited")


@pytest.mark.parametrize(
    "change", ["quota = 5", "models = '[\"x\"]'", "wallet_id = 'x'", "expires_at = NULL", "name = 'x'"]
)
def test_what_a_key_is_does_not_change(raw: Raw, change: str) -> None:
    refused(raw, f"UPDATE key SET {change}", because="what a key is")


def test_a_key_belongs_to_a_wallet(raw: Raw) -> None:
    into = "INSERT INTO key(id, wallet_id, digest, name, models, allow_ips, deny_ips, created_at) "
    row = "VALUES ('k', '{}', x'{}', 'k', '[]', '[]', '[]', 0)"

    refused(raw, into + row.format("nobody", "11" * 32), because="FOREIGN KEY")
    refused(raw, into + row.format(WALLET, "11" * 31), because="CHECK")
    refused(raw, into + row.format(WALLET, "00" * 32), because="UNIQUE")
    raw.do(into + row.format(WALLET, "11" * 32))


def test_a_key_that_was_revoked_stays_revoked(raw: Raw) -> None:
    raw.do("UPDATE key SET revoked_at = 5")

    refused(raw, "UPDATE key SET revoked_at = NULL", because="revoked once")
    refused(raw, "UPDATE key SET revoked_at = 6", because="revoked once")
