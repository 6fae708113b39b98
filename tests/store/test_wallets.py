"""Wallets in one transaction: what is judged there is judged before the first write."""

from collections.abc import Callable

import pytest

from faregate.core.errors import Conflict, GatewayError, InvalidRequest, NotFound, PaymentRequired
from faregate.core.money import NANOS_MAX, Nanos
from faregate.store import wallets
from faregate.store.wallets import Movement, Opening
from tests.store.books import WALLET
from tests.store.raw import Raw


def move(amount: int, *, wallet: str = WALLET, reference: str = "r", kind: str = "adjust") -> Movement:
    return Movement(kind=kind, wallet=wallet, amount=Nanos(amount), note="n", reference=reference, at_ms=5)


def opening(name: str) -> Opening:
    return Opening(wallet_id="x", name=name, floor=Nanos(0), at_ms=0)


REFUSALS: list[tuple[type[GatewayError], Callable[[Raw], object]]] = [
    (NotFound, lambda raw: wallets.move(raw.connection, move(1, wallet="nobody"))),
    (Conflict, lambda raw: wallets.move(raw.connection, move(1, reference="1"))),
    (PaymentRequired, lambda raw: wallets.move(raw.connection, move(-1_001))),
    (InvalidRequest, lambda raw: wallets.move(raw.connection, move(NANOS_MAX))),
    (InvalidRequest, lambda raw: wallets.move(raw.connection, move(-NANOS_MAX - 1))),
    (Conflict, lambda raw: wallets.open_wallet(raw.connection, opening("main"))),
    (InvalidRequest, lambda raw: wallets.open_wallet(raw.connection, opening(""))),
]


@pytest.mark.parametrize(("error", "verb"), REFUSALS)
def test_a_refusal_has_written_nothing(raw: Raw, error: type[GatewayError], verb: Callable[[Raw], object]) -> None:
    before = raw.rows()
    with pytest.raises(error):
        verb(raw)

    assert raw.rows() == before


def test_the_last_credit_can_be_taken_out(raw: Raw) -> None:
    wallets.move(raw.connection, move(-1_000))

    assert wallets.find(raw.connection, "main").posted == 0


def test_the_operators_balances_mirror_the_wallets(raw: Raw) -> None:
    wallets.move(raw.connection, move(-300))
    raw.reserve("a", 200)
    raw.settle("a", 150)
    balances = wallets.operator_accounts(raw.connection)

    assert (balances["world"], balances["revenue"]) == (-700, 150)
    assert {type(balance) for balance in balances.values()} == {int}
    assert sum(balances.values()) + wallets.find(raw.connection, WALLET).posted == 0
