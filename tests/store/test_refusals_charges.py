"""What the ledger's database itself refuses of charges, provoked in raw SQL."""

import pytest

from tests.store.books import KEY, WALLET
from tests.store.raw import Raw

# Holds ------------------------------------------------------------------------------------------------------------


def test_a_settle_whose_ledger_row_matches_is_taken(raw: Raw) -> None:
    raw.reserve("a")
    raw.settle("a", 600)

    assert raw.funds == (400, 0)


def test_a_settle_without_its_ledger_row_is_refused(raw: Raw) -> None:
    raw.reserve("a")

    raw.refuses(raw.settled("a", 100), because="FOREIGN KEY")


def test_a_settle_with_another_amount_than_its_ledger_row_is_refused(raw: Raw) -> None:
    raw.reserve("a")

    for amount in (99, 101):
        raw.refuses(
            raw.settled("a", 100),
            raw.transfer("settle:a", "settle", (WALLET, "revenue"), amount, "a"),
            because="its charge does not explain",
        )


def test_a_settle_that_names_another_row_or_none_is_refused(raw: Raw) -> None:
    raw.reserve("a", 100)
    raw.settle("a", 100)
    raw.reserve("b", 100)

    for other in ("'settle:a'", "NULL"):
        raw.refuses(raw.settled("b", 100).replace("'settle:b'", other), because="CHECK")


def test_a_ledger_row_without_its_settle_is_refused(raw: Raw) -> None:
    raw.reserve("a")

    raw.refuses(
        raw.transfer("settle:a", "settle", (WALLET, "revenue"), 100, "a"),
        because="its charge does not explain",
    )


def test_a_shortfall_without_its_ledger_row_is_refused(raw: Raw) -> None:
    raw.reserve("a")
    row = raw.transfer("settle:a", "settle", (WALLET, "revenue"), 600, "a")
    short = raw.transfer("shortfall:a", "shortfall", ("shortfall", "revenue"), 50, "a")

    raw.refuses(raw.settled("a", 600, 50), row, because="FOREIGN KEY")
    raw.refuses(raw.settled("a", 600, 50), row, short.replace(" 50,", " 49,"), because="its charge does not explain")
    raw.do(raw.settled("a", 600, 50), row, short)

    assert raw.funds == (400, 0)


def test_a_capture_above_the_hold_is_refused(raw: Raw) -> None:
    raw.reserve("a", 600)

    raw.refuses(
        raw.settled("a", 601),
        raw.transfer("settle:a", "settle", (WALLET, "revenue"), 601, "a"),
        because="charged is more than held|CHECK",
    )


def test_a_capture_above_holds_that_were_only_claimed_is_refused(raw: Raw) -> None:
    raw.do(raw.charge("a", held=600), raw.hold("a", 500))

    raw.refuses(
        raw.settled("a", 501),
        raw.transfer("settle:a", "settle", (WALLET, "revenue"), 501, "a"),
        because="charged is more than held",
    )


def test_a_capture_above_what_the_receipt_says_was_held_is_refused(raw: Raw) -> None:
    raw.do(raw.charge("a", held=500), raw.hold("a", 600))

    row = raw.transfer("settle:a", "settle", (WALLET, "revenue"), 501, "a")
    raw.refuses(raw.settled("a", 501), row, because="CHECK")


def test_a_shortfall_that_names_no_row_is_refused(raw: Raw) -> None:
    raw.reserve("a", 0)

    raw.refuses(raw.settled("a", 0, 50).replace("'shortfall:a'", "NULL"), because="CHECK")


def test_a_limit_pays_for_a_charge_that_was_held_on_it_and_what_it_cost(raw: Raw) -> None:
    limit = "INSERT INTO account(wallet_id, id, kind, name, key_id, floor, created_at, ends_at) VALUES "
    for name in ("l", "m"):
        raw.do(limit + f"('{WALLET}', '{name}', 'limit', 'quota', '{KEY}', 0, 0, 9)")
        raw.do(raw.transfer(f"cap:{name}", "cap", ("limits", name), 600))
    raw.reserve("a")
    raw.do(raw.hold("a", account="l"))
    because = "its charge does not explain"
    raw.refuses(raw.transfer("limit:a:l", "limit", ("l", "limits"), 100, "a"), because=because)
    raw.settle("a", 100)

    raw.refuses(raw.transfer("limit:a:l", "limit", ("l", "limits"), 99, "a"), because=because)
    raw.refuses(raw.transfer("limit:a:m", "limit", ("m", "limits"), 100, "a"), because=because)
    raw.do(raw.transfer("limit:a:l", "limit", ("l", "limits"), 100, "a"))
    assert raw.one("SELECT posted - held FROM account WHERE id = 'l'") == 500


def test_a_loss_is_booked_once(raw: Raw) -> None:
    raw.reserve("a")
    raw.do(raw.released("a"), raw.transfer("loss:a", "loss", ("crash_loss", "revenue"), 5, "a"))

    raw.refuses(raw.transfer("loss:a", "loss", ("crash_loss", "revenue"), 6, "a"), because="UNIQUE")


def test_an_open_charge_has_lost_nothing_yet(raw: Raw) -> None:
    raw.reserve("a")

    because = "its charge does not explain"
    raw.refuses(raw.transfer("loss:a", "loss", ("crash_loss", "revenue"), 5, "a"), because=because)


def test_a_second_settle_is_refused(raw: Raw) -> None:
    raw.reserve("a")
    raw.settle("a", 100)

    raw.refuses(raw.settled("a", 100), because="has ended")
    raw.refuses(raw.settled("a", 200), because="has ended")
    raw.refuses(raw.transfer("settle:a", "settle", (WALLET, "revenue"), 100, "a"), because="UNIQUE")


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
        raw.refuses(f"UPDATE charge SET {change} WHERE id = '{name}'", because="has ended")


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

    raw.refuses(f"UPDATE charge SET state = '{then}'", because="from that state to this")


def test_a_charge_begins_reserved_and_ends_with_an_outcome(raw: Raw) -> None:
    raw.refuses(raw.charge("a").replace("incarnation,", "incarnation, state,").replace("1, 0)", "1, 'orphaned', 0)"),
            because="begins reserved")  # fmt: skip
    raw.reserve("a")
    raw.refuses("UPDATE charge SET state = 'released', settled_at = 1", because="CHECK")
    raw.refuses("UPDATE charge SET state = 'released', outcome = 'ok'", because="CHECK")
    raw.refuses("UPDATE charge SET state = 'nowhere'", because="CHECK|from that state")


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

    raw.refuses(f"UPDATE charge SET {change}", because="what a charge is")


def test_an_error_is_never_billed(raw: Raw) -> None:
    raw.reserve("a")
    row = raw.transfer("settle:a", "settle", (WALLET, "revenue"), 100, "a")

    for outcome in ("upstream_error", "gateway_error", "gateway_crash", "shutdown"):
        raw.refuses(raw.settled("a", 100).replace("'ok'", f"'{outcome}'"), row, because="an_error_is_never_billed")
    raw.do(raw.settled("a", 100).replace("'ok'", "'client_gone'"), row)


def test_a_release_costs_nothing(raw: Raw) -> None:
    raw.reserve("a")

    raw.refuses(
        raw.settled("a", 100).replace("'settled'", "'released'"), because="only_a_settled_charge_costs|its charge"
    )


def test_an_open_charge_costs_nothing(raw: Raw) -> None:
    raw.reserve("a")

    raw.refuses(
        "UPDATE charge SET charged = 5, settle_idem = 'settle:a'",
        because="only_a_settled_charge_costs|an_error_is_never_billed",
    )


def test_an_idempotency_key_is_used_once_and_freed_by_a_release_only(raw: Raw) -> None:
    with_key = (
        raw.charge("{}", 100).replace("key_id,", "key_id, idem_key,", 1).replace(f"'{KEY}',", f"'{KEY}', 'same',")
    )
    raw.do(with_key.format("a"), raw.hold("a", 100))

    raw.refuses(with_key.format("b"), because="UNIQUE")
    raw.refuses("UPDATE charge SET idem_key = NULL", because="freed by a release only")
    raw.refuses("UPDATE charge SET idem_key = 'other'", because="freed by a release only")
    raw.do(raw.released("a").replace("settled_at = 1", "settled_at = 1, idem_key = NULL"))
    raw.do(with_key.format("b"))


def test_a_release_gives_a_charge_no_other_idempotency_key(raw: Raw) -> None:
    raw.reserve("a", 100)
    with_key = raw.charge("b", 100).replace("key_id,", "key_id, idem_key,", 1)
    raw.do(with_key.replace(f"'{KEY}',", f"'{KEY}', 'mine',"))

    for name in ("a", "b"):
        other = raw.released(name).replace("settled_at = 1", "settled_at = 1, idem_key = 'other'")
        raw.refuses(other, because="freed by a release only")


def test_a_charge_has_a_key_and_a_price_that_exist(raw: Raw) -> None:
    raw.refuses(raw.charge("a").replace(f"'{KEY}'", "'nobody'"), because="FOREIGN KEY")
    raw.refuses(raw.charge("a").replace("'p'", "'nothing'"), because="FOREIGN KEY")
