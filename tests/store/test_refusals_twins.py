"""What belongs to one wallet, one account or one charge is not taken for another's of the same name.

Method: a second wallet `w` whose charges, holds and limits have the same names, and an act that is right for the one
and is tried on the other. And each kind of transfer, wrong in one thing at a time.
"""

import pytest

from tests.store.books import WALLET
from tests.store.raw import Raw
from tests.store.test_refusals_columns import bare
from tests.store.twins import LIMIT, held, hold, other

SETTLED = ("settle:a", "settle", (WALLET, "revenue"))
LOST = ("loss:a", "loss", ("error_loss", "revenue"))


def test_a_transfer_moves_the_accounts_of_its_own_wallet(twins: Raw) -> None:
    posted = "SELECT posted FROM account WHERE wallet_id = '{}' AND id = '{}'"

    assert twins.one(posted.format(WALLET, "l")) == 500
    assert twins.one(posted.format("w", "l")) == 0
    assert twins.one(posted.format(WALLET, WALLET)) == twins.one(posted.format("w", "w")) == 1_000


def test_a_transfer_is_explained_by_the_charge_of_its_own_wallet(twins: Raw) -> None:
    twins.do(twins.charge("a", 100), hold(WALLET, WALLET, 1, 100))
    twins.do(other(twins.charge("a", 100)), hold("w", "w", 1, 100))
    ended = other(twins.settled("a", 100)).replace("WHERE id", "WHERE wallet_id = 'w' AND id")
    twins.do(ended, other(twins.transfer(*SETTLED, 100, "a")))

    twins.refuses(twins.transfer(*SETTLED, 100, "a"), because="does not explain")
    twins.refuses(twins.transfer(*LOST, 100, "a"), because="does not explain")
    assert (held(twins, WALLET, WALLET), held(twins, "w", "w")) == (100, 0)


def test_a_transfer_is_explained_by_its_own_charge(twins: Raw) -> None:
    twins.do(twins.charge("a", 100), hold(WALLET, WALLET, 1, 100))
    twins.do(twins.charge("b", 100), hold(WALLET, WALLET, 2, 100, "b"))
    twins.settle("b", 100)

    twins.refuses(twins.transfer(*SETTLED, 100, "a"), because="does not explain")
    twins.refuses(twins.transfer(*LOST, 100, "a"), because="does not explain")


def test_a_limit_pays_for_its_own_hold(twins: Raw) -> None:
    twins.do(other(twins.transfer("cap:l", "cap", ("limits", "l"), 500)))
    twins.do(
        twins.charge("a", 100), hold(WALLET, WALLET, 1, 100), twins.charge("b", 100), hold(WALLET, WALLET, 2, 100, "b")
    )
    twins.do(other(twins.charge("a", 100)), hold("w", "w", 1, 100), hold("w", "l", 1, 100))
    twins.do(hold(WALLET, "l", 1, 100, "b"))
    twins.do(
        twins.settled("a", 100).replace("WHERE id", f"WHERE wallet_id = '{WALLET}' AND id"),
        twins.transfer(*SETTLED, 100, "a"),
    )

    twins.refuses(twins.transfer("limit:a:l", "limit", ("l", "limits"), 100, "a"), because="does not explain")


def test_a_hold_is_taken_by_a_charge_of_its_own_wallet(twins: Raw) -> None:
    twins.do(other(twins.charge("a", 100)), hold("w", "w", 1, 100))

    twins.refuses(hold(WALLET, WALLET, 1, 100), because="a hold is taken open")


def test_a_hold_moves_the_account_of_its_own_wallet_and_name(twins: Raw) -> None:
    twins.do(twins.charge("a", 100), hold(WALLET, "l", 1, 70))
    twins.do(other(twins.charge("a", 100)), hold("w", "w", 1, 30))

    assert [held(twins, *of) for of in ((WALLET, "l"), ("w", "l"), (WALLET, WALLET), ("w", "w"))] == [70, 0, 0, 30]
    twins.do("UPDATE charge SET state = 'released', outcome = 'shutdown', settled_at = 1 WHERE wallet_id = 'w'")
    assert [held(twins, *of) for of in ((WALLET, "l"), ("w", "l"), (WALLET, WALLET), ("w", "w"))] == [70, 0, 0, 0]
    twins.do("UPDATE charge SET state = 'released', outcome = 'shutdown', settled_at = 1 WHERE state = 'reserved'")
    assert held(twins, WALLET, "l") == 0


def test_a_hold_is_numbered_by_its_own_account(twins: Raw) -> None:
    twins.do(twins.charge("a", 100), hold(WALLET, "l", 1, 10), hold(WALLET, "l", 2, 10))
    twins.do(other(twins.charge("a", 100)))

    twins.refuses(hold("w", "l", 3, 10), because="a hold is taken open")
    twins.refuses(hold(WALLET, WALLET, 3, 10), because="a hold is taken open")


def test_a_hold_is_freed_by_the_end_of_its_own_charge(twins: Raw) -> None:
    twins.do(twins.charge("a", 100), hold(WALLET, WALLET, 1, 100), twins.charge("b", 0))
    twins.do(other(twins.charge("a", 100)), hold("w", "w", 1, 100))
    twins.do(other(twins.released("a")).replace("WHERE id", "WHERE wallet_id = 'w' AND id"))
    twins.do(twins.released("b"))

    assert held(twins, WALLET, WALLET) == 100
    twins.refuses(f"UPDATE hold SET closed = 2 WHERE wallet_id = '{WALLET}'", because="freed once")


def test_a_capture_counts_the_holds_of_its_own_charge_on_its_own_wallet(twins: Raw) -> None:
    twins.do(twins.charge("a", 600), hold(WALLET, WALLET, 1, 100), hold(WALLET, "l", 1, 300))
    twins.do(twins.charge("b", 600), hold(WALLET, WALLET, 2, 300, "b"))
    twins.do(other(twins.charge("a", 600)), hold("w", "w", 1, 300))
    ended = twins.settled("a", 101).replace("WHERE id", f"WHERE wallet_id = '{WALLET}' AND id")

    twins.refuses(ended, twins.transfer(*SETTLED, 101, "a"), because="charged is more than held")


def test_a_balance_is_explained_by_what_is_its_own(twins: Raw) -> None:
    """The last transfer and the last hold of a neighbour explain nothing."""
    last = twins.one("SELECT MAX(id) FROM transfer")
    twins.refuses(
        f"UPDATE account SET posted = posted + 500, last_transfer = {last} WHERE id = '{WALLET}'",
        because="by a transfer only",
    )
    twins.do(twins.charge("a", 100), hold(WALLET, "l", 1, 50))
    for wallet, account in ((WALLET, WALLET), ("w", "l")):
        twins.refuses(
            "UPDATE account SET held = held + 50, moves = moves + 1, moved_by = 'a' "
            f"WHERE wallet_id = '{wallet}' AND id = '{account}'",
            because="by a hold only",
        )


GOOD = {
    "topup": ("ref:9", "world", WALLET, None),
    "adjust": ("ref:9", WALLET, "world", None),
    "settle": ("settle:a", WALLET, "revenue", "a"),
    "shortfall": ("shortfall:a", "shortfall", "revenue", "a"),
    "loss": ("loss:a", "error_loss", "revenue", "a"),
    "cap": ("cap:l", "limits", "l", None),
    "limit": ("limit:a:l", "l", "limits", "a"),
}


def row(raw: Raw, kind: str, says: tuple[str, str, str, str | None]) -> str:
    idem, debit, credit, charge = says
    return raw.transfer(idem, kind, (debit, credit), 5, charge or "NULL")


@pytest.mark.parametrize("kind", GOOD)
def test_a_kind_of_transfer_is_wrong_in_each_thing_that_it_says(raw: Raw, kind: str) -> None:
    idem, debit, credit, charge = GOOD[kind]
    wrong = [("x:1", debit, credit, charge), (idem, "promo", credit, charge), (idem, debit, "promo", charge)]
    wrong.append((idem, debit, credit, None if charge else "a"))
    if kind == "cap":
        wrong[2] = (idem, debit, "m", charge)
    if kind == "limit":
        wrong += [("limit:a:promo", "promo", "revenue", "a"), (f"limit:a:{WALLET}", WALLET, "limits", "a")]
    if kind == "adjust":
        wrong += [(idem, "world", "promo", None), (idem, "promo", WALLET, None), (idem, "promo", "world", None)]

    prefix = bare(raw)
    for one in wrong:
        raw.refuses(*prefix, row(raw, kind, one), because="kind_of_transfer")
    raw.do(*prefix, row(raw, kind, GOOD[kind]))


def test_a_transfer_out_of_an_account_that_is_not_of_this_wallet_is_refused(raw: Raw) -> None:
    raw.do(LIMIT.format(WALLET).replace("'l'", "'nobody'"))
    out = raw.transfer("ref:9", "adjust", ("nobody", "world"), 5)

    raw.refuses(out.replace(f"'{WALLET}'", "'nobody'"), because="unknown accounts")


def test_a_hold_is_taken_by_a_charge_of_its_own_name(raw: Raw) -> None:
    raw.do(raw.charge("a", 100))

    raw.refuses(hold(WALLET, WALLET, 1, 100, "none"), because="a hold is taken open")


@pytest.mark.parametrize("taken", [[("a", 0), ("a", 2)], [("a", 1), ("a", 3)], [("a", 1), ("b", 1), ("a", 3)]])
def test_holds_of_one_statement_are_the_next_moves_without_a_gap(raw: Raw, taken: list[tuple[str, int]]) -> None:
    raw.do(raw.charge("a", 100), raw.charge("b", 100))
    rows = ", ".join(f"('{WALLET}', '{charge}', '{WALLET}', {seq}, 5)" for charge, seq in taken)

    raw.refuses(
        f"INSERT INTO hold(wallet_id, charge_id, account_id, seq, amount) VALUES {rows}", because="a hold is taken open"
    )


def test_a_limit_is_freed_in_its_own_wallet_where_both_have_moved_as_often(twins: Raw) -> None:
    twins.do(other(twins.transfer("cap:l", "cap", ("limits", "l"), 500)))
    twins.do(twins.charge("a", 100), hold(WALLET, "l", 1, 70))
    twins.do(other(twins.charge("a", 100)), hold("w", "l", 1, 30))

    twins.do(twins.released("a").replace("WHERE id", f"WHERE wallet_id = '{WALLET}' AND id"))
    assert (held(twins, WALLET, "l"), held(twins, "w", "l")) == (0, 30)
