"""What the ledger's database itself refuses of holds, provoked in raw SQL."""

import pytest

from tests.store.books import WALLET
from tests.store.raw import Raw

# Holds ------------------------------------------------------------------------------------------------------------


def test_a_hold_on_a_charge_that_has_ended_is_refused(raw: Raw) -> None:
    for name, end in (("a", raw.settled("a", 0)), ("b", raw.released("b"))):
        raw.reserve(name, 100)
        raw.do(end)
        raw.refuses(raw.hold(name, 1), because="a hold is taken open")


def test_a_hold_for_an_orphan_or_for_nobody_is_refused(raw: Raw) -> None:
    raw.reserve("a", 100)
    raw.do("UPDATE charge SET state = 'orphaned' WHERE id = 'a'")

    raw.refuses(raw.hold("a", 1), because="a hold is taken open")
    raw.refuses(raw.hold("none", 1), because="a hold is taken open")


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
        raw.refuses(wrong, because="a hold is taken open")
    raw.do(hold.format(WALLET, WALLET, 1, "NULL"))


@pytest.mark.parametrize("change", ["amount = 1", "amount = 9999", "account_id = 'x'", "charge_id = 'b'", "seq = 7"])
def test_what_a_hold_is_does_not_change(raw: Raw, change: str) -> None:
    raw.reserve("a")

    raw.refuses(f"UPDATE hold SET {change}", because="what a hold is")


def test_a_hold_of_an_open_charge_is_not_freed(raw: Raw) -> None:
    raw.reserve("a")

    raw.refuses("UPDATE hold SET closed = 2", because="freed once")


def test_a_hold_that_was_freed_is_not_opened_again(raw: Raw) -> None:
    raw.reserve("a")
    raw.do(raw.released("a"))
    assert raw.funds == (1_000, 0)

    raw.refuses("UPDATE hold SET closed = NULL", because="freed once")
    raw.refuses("UPDATE hold SET closed = 3", because="freed once")
