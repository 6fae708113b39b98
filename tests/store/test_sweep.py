"""What processes that died had held: given back, once, at the operator's cost."""

import sqlite3
from pathlib import Path

import pytest

from faregate.core.ledger import Outcome, State
from faregate.core.money import Nanos
from faregate.store import sweep as ending
from tests.store.books import WALLET, Raw, fund, funds, message, opening, reserve, settle


async def test_the_holds_of_a_dead_process_return_and_its_cost_is_the_operators(tmp_path: Path) -> None:
    async with opening(tmp_path) as store:
        await fund(store, 3_000_000)
        assert store.swept == ending.Swept(0, Nanos(0))
        for number in range(4):
            await store.ledger.reserve(reserve(number, idempotency_key=str(number)))
        store.ledger.streaming(message(1), WALLET, 0)
        await store.ledger.settle(settle(3))

    async with opening(tmp_path) as store:
        assert store.swept == ending.Swept(3, Nanos(600_000))
        for number in range(3):
            receipt = await store.records.receipt(WALLET, message(number))
            assert receipt is not None
            assert (receipt.state, receipt.outcome, receipt.charged) == (State.RELEASED, Outcome.GATEWAY_CRASH, 0)
        accounts = await store.office.operator_accounts()
        assert (accounts["crash_loss"], accounts["revenue"]) == (-600_000, 750_000)
        assert await funds(store) == (2_850_000, 0)
        await store.ledger.settle(settle(0))  # a late owner comes too late
        await store.ledger.reserve(reserve(9, idempotency_key="0"))

    async with opening(tmp_path) as store:
        assert store.swept == ending.Swept(1, Nanos(200_000))


def test_a_sweep_leaves_its_own_incarnation_alone_and_takes_many(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "SWEEP_MAX", 2)
    for number in range(5):
        raw.reserve(f"c{number}", 10)
    raw.do(raw.released("c0"), "UPDATE charge SET state = 'orphaned' WHERE id = 'c1'")

    assert ending.sweep(raw.connection, "main", 1, 5) == ending.Swept(0, Nanos(0))
    assert ending.sweep(raw.connection, "main", 2, 5) == ending.Swept(4, Nanos(36))
    assert raw.one("SELECT COUNT(*) FROM charge WHERE state = 'released'") == 5
    assert raw.one(f"SELECT held FROM account WHERE id = '{WALLET}'") == 0


def test_a_sweep_of_another_node_is_the_same(raw: Raw) -> None:
    raw.reserve("a", 10)

    assert ending.sweep(raw.connection, "other", 1, 5).charges == 1
    with pytest.raises(sqlite3.IntegrityError, match="has ended"):
        raw.do(raw.settled("a", 0))
