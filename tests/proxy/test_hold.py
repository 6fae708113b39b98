"""A hold ends once, by money or without, and what is told to the ledger is carried out whatever becomes of the task.

Method: a real ledger on a file, holds taken and ended in every order, and the audit after each.
"""

import asyncio
from pathlib import Path

import msgspec
import pytest

from faregate.core.errors import NotReady, PaymentRequired
from faregate.core.ledger import Basis, Loss, Outcome, Reserve, State
from faregate.core.meter import Reading
from faregate.core.money import Nanos
from faregate.proxy.hold import Hold, take
from faregate.wire.usage import Usage
from tests.contract.riders import loss
from tests.gateway import MODEL, Gate
from tests.proxy.standing import Watcher, standing, watched

READING = Reading(usage=Usage(input=10, output=3), basis=Basis.UPSTREAM)
COST = 10 * 1_000 + 3 * 5_000
OPENING = 1_000_000_000


async def reserve(gate: Gate, key: str, *, max_tokens: int = 100, charge_id: str = "msg_1") -> Reserve:
    found = await gate.running.gate.keys.find(key)
    assert found is not None
    return Reserve(
        charge_id=charge_id, wallet_id=found.wallet_id, key_id=found.id, request_id="req_1", model=MODEL,
        price_id=gate.price().id, body_sha256=bytes(32), idempotency_key=None, input_ceiling=Nanos(50_000),
        output_price=gate.price().output,
        max_tokens=max_tokens, min_tokens=max_tokens, estimated=Nanos(30_000), at_ms=gate.running.gate.now_ms(),
    )  # fmt: skip


async def taken(gate: Gate, key: str) -> tuple[Hold, Watcher]:
    wired, watcher = watched(gate)
    return await take(wired, await reserve(gate, key), gate.price()), watcher


async def test_a_hold_is_the_ceiling_and_is_told_to_the_observer(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        hold, watcher = await taken(gate, await gate.key())

        assert (hold.held, hold.max_tokens, hold.outcome) == (550_000, 100, None)
        assert hold.available == OPENING - 550_000
        assert watcher.holds == [550_000]
        assert await gate.books() == (OPENING, 550_000)


async def test_settling_bills_the_reading_and_frees_the_rest(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        hold, _ = await taken(gate, key)
        await hold.settle(Outcome.OK, READING, upstream="fake", attempts=2, lost=[Usage(input=4)])
        record = await gate.record(key, "msg_1")

        assert (hold.charged, hold.outcome, hold.reading) == (COST, Outcome.OK, READING)
        assert (record.charged, record.usage, record.attempts) == (COST, READING.usage, 2)
        assert await loss(gate, "error_loss") == 4_000, "a failed attempt's usage is the operator's"
        assert await gate.books() == (OPENING - COST, 0)


async def test_what_is_above_the_hold_is_shortfall(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        hold, _ = await taken(gate, key)
        reading = Reading(usage=Usage(input=10, output=1_000), basis=Basis.UPSTREAM)
        await hold.settle(Outcome.OK, reading, upstream="fake", attempts=1)
        record = await gate.record(key, "msg_1")

        assert (record.charged, record.shortfall) == (550_000, 5_010_000 - 550_000)
        assert await gate.books() == (OPENING - 550_000, 0)


async def test_releasing_bills_nothing_and_names_the_loss(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        hold, _ = await taken(gate, key)
        await hold.release(
            Outcome.CLIENT_GONE, loss=Loss.ABANDON, loss_amount=Nanos(7), reading=READING, lost=[Usage(input=1)]
        )
        record = await gate.record(key, "msg_1")

        assert (record.state, record.charged, record.outcome) == (State.RELEASED, 0, Outcome.CLIENT_GONE)
        assert await loss(gate, "abandon_loss") == 7 + COST + 1_000
        assert await gate.books() == (OPENING, 0)


async def test_a_rest_that_costs_no_more_than_its_end_has_booked_loses_nothing(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        hold, _ = await taken(gate, await gate.key())
        await hold.settle(Outcome.CLIENT_GONE, READING, upstream="fake", attempts=1)
        for less in (0, 1, COST):
            await hold.lose(Nanos(COST - less))
        assert await loss(gate, "abandon_loss") == 0

        await hold.lose(Nanos(COST + 7))
        assert await loss(gate, "abandon_loss") == 7
        assert await gate.books() == (OPENING - COST, 0)


async def test_whichever_comes_first_counts(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        hold, _ = await taken(gate, key)
        await hold.settle(Outcome.OK, READING, upstream="fake", attempts=1)
        await hold.settle(Outcome.OK, READING, upstream="fake", attempts=1)
        await hold.release(Outcome.SHUTDOWN)

        assert (await gate.record(key, "msg_1")).state is State.SETTLED
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_settle_whose_task_is_cancelled_is_carried_out_and_awaited_all_the_same(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        hold, _ = await taken(gate, key)
        settling = asyncio.create_task(hold.settle(Outcome.OK, READING, upstream="fake", attempts=1))
        for _ in range(3):
            await asyncio.sleep(0)
            settling.cancel()
        await settling

        assert (hold.outcome, hold.charged) == (Outcome.OK, COST)
        assert (await gate.record(key, "msg_1")).state is State.SETTLED
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_reserve_whose_task_is_cancelled_leaves_nothing_held(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        command = await reserve(gate, key)
        taking = asyncio.create_task(take(gate.running.gate, command, gate.price()))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        (receipt,) = await gate.settled(key)
        assert taking.cancelled()
        assert (receipt["state"], receipt["outcome"]) == ("released", "shutdown")
        assert await gate.books() == (OPENING, 0)


async def test_what_a_call_takes_from_its_rates_is_corrected_by_what_it_used(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key(input_tokens_per_minute=1_000_000, output_tokens_per_minute=1_000_000)
        size = {"input_tokens": 400_000, "output_tokens": 90, "input_tokens_max": 500_000}
        wired, at_ms = gate.running.gate, gate.running.gate.now_ms()
        left = []
        for number, reading in enumerate((READING, Reading(usage=Usage(input=10**9), basis=Basis.UPSTREAM), None)):
            command = await reserve(gate, key, charge_id=f"msg_{number}")
            command = msgspec.structs.replace(command, at_ms=at_ms, **size)
            hold = await take(wired, command, gate.price())
            left.append([bucket.remaining for bucket in hold.rates])
            if reading is not None:
                await hold.settle(Outcome.OK, reading, upstream="fake", attempts=1)
            else:
                await hold.release(Outcome.UPSTREAM_ERROR)
        last = await take(wired, msgspec.structs.replace(command, charge_id="msg_9", input_tokens=0), gate.price())

        assert left == [
            [600_000, 999_910],
            [600_000 - 10, 999_910 - 3],
            [600_000 - 10 - 500_000, 999_910 - 3],
        ]
        assert [bucket.remaining for bucket in last.rates] == [500_000 - 10, 999_910 - 3]


async def test_a_reserve_whose_task_is_cancelled_gives_its_tokens_back(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key(input_tokens_per_minute=100, output_tokens_per_minute=100)
        size = {"input_tokens": 60, "output_tokens": 60}
        command = msgspec.structs.replace(await reserve(gate, key), **size)
        taking = asyncio.create_task(take(gate.running.gate, command, gate.price()))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await gate.settled(key)
        hold = await take(gate.running.gate, msgspec.structs.replace(command, charge_id="msg_2"), gate.price())

        assert [bucket.level for bucket in hold.rates] == [40 * 60_000] * 2


async def test_what_is_not_affordable_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key(credits="100")
        wired, watcher = watched(gate)
        with pytest.raises(PaymentRequired):
            await take(wired, await reserve(gate, key), gate.price())

        assert watcher.holds == []
        assert await gate.receipts(key) == []
        assert await gate.books() == (100_000, 0)


async def test_a_ledger_that_is_closed_takes_no_hold_but_keeps_what_a_call_cost(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        hold, _ = await taken(gate, key)
        later = await reserve(gate, key, charge_id="msg_2")
        wired = gate.running.gate
    with pytest.raises(NotReady):
        await take(wired, later, hold._price)
    await hold.settle(Outcome.OK, READING, upstream="fake", attempts=1)

    assert hold.outcome is Outcome.OK
    async with standing(tmp_path) as gate:  # At the next start the spool comes before the sweep.
        assert gate.running.store.swept.charges == 0
        receipt = await gate.record(key, hold.charge_id)
        assert (receipt.state, receipt.charged) == (State.SETTLED, hold.charged)
