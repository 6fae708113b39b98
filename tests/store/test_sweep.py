"""What processes that died had held: given back, once, at the operator's cost."""

from pathlib import Path

import pytest

from faregate.core.errors import Internal
from faregate.core.ledger import Outcome, State
from faregate.core.money import Nanos
from faregate.store import sweep as ending
from tests.store.books import KEY, WALLET, fund, funds, message, opening, place, release, reserve, settle
from tests.store.raw import raw_on


async def test_the_holds_of_a_dead_process_return_and_its_cost_is_the_operators(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 3_000_000)
        assert store.swept == ending.Swept(0, Nanos(0))
        for number in range(4):
            await store.ledger.reserve(reserve(number, idempotency_key=str(number)))
        store.ledger.streaming(message(1), WALLET, 0)
        await store.ledger.settle(settle(3))

    async with opening(folder) as store:
        assert store.swept == ending.Swept(3, Nanos(600_000))
        for number in range(3):
            receipt = await store.records.receipt(WALLET, message(number))
            assert receipt is not None
            assert (receipt.state, receipt.outcome, receipt.charged) == (State.RELEASED, Outcome.GATEWAY_CRASH, 0)
        accounts = await store.office.operator_accounts()
        assert (accounts["crash_loss"], accounts["revenue"]) == (-600_000, 750_000)
        assert await funds(store) == (2_850_000, 0)
        with pytest.raises(Internal, match="given back"):  # a late owner comes too late, and its caller sees no end
            await store.ledger.settle(settle(0))
        await store.ledger.reserve(reserve(9, idempotency_key="0"))

    async with opening(folder) as store:
        assert store.swept == ending.Swept(1, Nanos(200_000))


async def test_a_sweep_at_a_start_takes_older_incarnations_of_its_own_node_and_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "SWEEP_MAX", 2)
    async with opening(folder) as store:
        await fund(store, 9_000_000)
        for number in range(5):
            await store.ledger.reserve(reserve(number))
        await store.ledger.release(release(0))
        assert (await funds(store))[1] == 4 * 600_000
    raw = raw_on(place(folder))
    raw.do(f"UPDATE charge SET state = 'orphaned' WHERE id = '{message(1)}'")
    raw.close()

    async with opening(folder) as store:
        assert store.swept == ending.Swept(4, Nanos(800_000))
        assert await funds(store) == (9_000_000, 0)


async def test_an_orphan_can_still_be_settled_by_a_late_owner_and_is_then_left_alone(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 9_000_000)
        await store.ledger.reserve(reserve(1))
        writer = store.ledger._writer
        found = [ending.Open(WALLET, message(1), KEY, 200_000, orphaned=False)]
        await ending.orphan(writer, found)
        receipt = await store.records.receipt(WALLET, message(1))
        assert receipt is not None and receipt.state is State.ORPHANED

        await store.ledger.settle(settle(1))
        await ending.orphan(writer, found)
        assert await ending.release(writer, found, at_ms=5) == ending.Swept(0, Nanos(0))
        receipt = await store.records.receipt(WALLET, message(1))
        assert receipt is not None and receipt.state is State.SETTLED
        assert await funds(store) == (8_850_000, 0)
