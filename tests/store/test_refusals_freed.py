"""A hold ends under the next number of its own account, once: whatever statement ends its charge.

Method: a charge's end by itself, on accounts that are alike in all but one thing; and, on PostgreSQL, a statement that
ends charges and closes their holds at once, under numbers of its own, as no program of ours would write it.
"""

from collections.abc import Mapping

import pytest

from tests.store.books import WALLET
from tests.store.raw import PostgresRaw, Raw
from tests.store.twins import LIMIT, held, hold, other

NEXT = {"a": 4, "b": 5, "c": 6}


@pytest.fixture
def three(postgres_raw: PostgresRaw) -> PostgresRaw:
    """Three charges, each with a hold on the wallet: the next move is its fourth."""
    for number, name in enumerate(NEXT, 1):
        postgres_raw.do(postgres_raw.charge(name, 100), hold(WALLET, WALLET, number, 100, name))
    return postgres_raw


def freed_by_hand(numbers: Mapping[str, int | None]) -> str:
    """The charges end, and their holds are closed under these numbers, in one statement."""
    names = ", ".join(f"'{name}'" for name in numbers)
    cases = " ".join(f"WHEN '{name}' THEN {number or 'NULL::bigint'}" for name, number in numbers.items())
    return (
        "WITH ended AS (UPDATE charge SET state = 'released', outcome = 'shutdown', settled_at = 1 "
        f"WHERE id IN ({names}) RETURNING wallet_id, id) "
        f"UPDATE hold SET closed = CASE charge_id {cases} END FROM ended "
        "WHERE hold.wallet_id = ended.wallet_id AND hold.charge_id = ended.id"
    )


def closed(raw: Raw) -> list[int | None]:
    found = raw.connection.execute("SELECT closed FROM hold ORDER BY wallet_id, charge_id, account_id, seq").fetchall()
    return [number for (number,) in found]


def test_an_end_moves_no_other_account_of_the_wallet_that_has_moved_as_often(twins: Raw) -> None:
    twins.do(twins.charge("a", 100), hold(WALLET, WALLET, 1, 70))
    twins.do(twins.charge("b", 100), hold(WALLET, "l", 1, 70, "b"))

    twins.do(twins.released("a"))
    assert (held(twins, WALLET, WALLET), held(twins, WALLET, "l")) == (0, 70)


def test_two_holds_of_one_charge_on_one_account_are_freed_as_two_moves(raw: Raw) -> None:
    raw.do(raw.charge("a", 100), hold(WALLET, WALLET, 1, 30), hold(WALLET, WALLET, 2, 50))

    raw.do(raw.released("a"))
    assert raw.funds == (1_000, 0)
    assert closed(raw) == [3, 4]


def test_each_account_of_a_charge_goes_on_with_its_own_numbers(raw: Raw) -> None:
    for name in ("l", "m"):
        raw.do(LIMIT.format(WALLET).replace("'l'", f"'{name}'"))
        raw.do(raw.transfer(f"cap:{name}", "cap", ("limits", name), 500))
    raw.do(raw.charge("a", 100), *(hold(WALLET, account, 1, 10) for account in ("l", "m", WALLET)))
    raw.do(raw.charge("b", 100), hold(WALLET, "m", 2, 5, "b"), *(hold(WALLET, WALLET, n, 5, "b") for n in (2, 3)))

    raw.do(raw.released("a"))
    assert [held(raw, WALLET, account) for account in ("l", "m", WALLET)] == [0, 5, 10]
    assert sorted(number for number in closed(raw) if number) == [2, 3, 4]


def test_a_capture_does_not_count_a_neighbours_hold_on_a_limit_of_this_wallets_name(twins: Raw) -> None:
    twins.do(
        LIMIT.format("w").replace("'l'", f"'{WALLET}'"),
        twins.transfer(f"cap:{WALLET}", "cap", ("limits", WALLET), 500).replace(f"('{WALLET}'", "('w'"),
    )
    twins.do(twins.charge("a", 600), hold(WALLET, WALLET, 1, 100))
    twins.do(other(twins.charge("a", 600)), hold("w", WALLET, 1, 300))
    ended = twins.settled("a", 101).replace("WHERE id", f"WHERE wallet_id = '{WALLET}' AND id")

    twins.refuses(
        ended, twins.transfer("settle:a", "settle", (WALLET, "revenue"), 101, "a"), because="charged is more than held"
    )


@pytest.mark.parametrize("numbers", [(3, 5, 6), (4, 5, 7), (4, 4, 6)])
def test_holds_that_end_in_one_statement_are_the_next_moves_without_a_gap(
    three: PostgresRaw, numbers: tuple[int, ...]
) -> None:
    three.refuses(freed_by_hand(dict(zip(NEXT, numbers, strict=True))), because="by a hold only")


def test_a_hold_that_the_statement_of_its_charges_end_has_closed_is_freed_once(three: PostgresRaw) -> None:
    three.do(freed_by_hand(NEXT))

    assert three.funds == (1_000, 0)
    assert closed(three) == [4, 5, 6]
    assert three.one(f"SELECT moves FROM account WHERE id = '{WALLET}'") == 6


def test_a_hold_that_a_statement_writes_and_leaves_open_is_no_move_of_it(three: PostgresRaw) -> None:
    """Its charge's end frees it first, under the next number, and what the statement has closed comes after."""
    three.do(freed_by_hand({"a": None, "b": 5}))
    assert three.funds == (1_000, 100)
    assert closed(three) == [4, 5, None]

    three.do(freed_by_hand({"c": None}))
    assert three.funds == (1_000, 0)
    assert closed(three) == [4, 5, 6]
