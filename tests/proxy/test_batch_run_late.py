"""A run whose claim was taken from it changes nothing and is counted as nothing; a worker that stops leaves none.

Method: a whole gateway on each database and an upstream that is played by hand.
"""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faregate.core.batch_commands import Again
from faregate.core.money import Nanos
from faregate.proxy.batch_run import Run
from faregate.proxy.record import CallRecord
from tests.contract.batches import COST, GOOD, OPENING, good, made, over
from tests.contract.handmade import by_hand
from tests.gateway import looking, running


def whole() -> bytes:
    data = msgspec.json.encode(GOOD)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)


async def test_an_end_that_comes_too_late_bills_nothing_and_is_counted_as_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets: list[Any] = []
    finished: list[CallRecord] = []
    init = Run.__init__

    def noted(run: Run, gate: Any, batches: Any, ticket: Any, find_key: Any) -> None:
        tickets.append(ticket)
        init(run, gate, batches, ticket, find_key)

    monkeypatch.setattr(Run, "__init__", noted)
    async with by_hand(folder, toml="[batches]\nconcurrency = 2") as (gate, upstream):
        key = await gate.key()
        monkeypatch.setattr(gate.running.gate.observer, "finished", finished.append)
        batch_id = (await made(gate, key, "a"))["id"]
        late = await upstream.turn()
        taken = Again(ticket=tickets[0], again_at_ms=0, tries=0, crashes=1, wasted=Nanos(9))
        await gate.running.store.batches.put_back(taken)
        second = await upstream.turn()
        late.write(whole())
        while len(gate.running.worker.runs) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert finished == [] and (await gate.books())[0] == OPENING
        second.write(whole())
        await over(gate, key, batch_id)
        while gate.running.worker.runs:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

        assert [record.charged for record in finished] == [COST]
        assert await gate.books() == (OPENING - COST, 0)


async def test_what_is_claimed_while_the_worker_stops_is_put_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(folder, script=good, toml="[batches]\nconcurrency = 1") as gate:
        batches, asked, go = gate.running.store.batches, asyncio.Event(), asyncio.Event()
        claim, claimed = batches.claim, list[Any]()

        async def slow(*args: Any) -> Any:
            asked.set()
            await go.wait()
            claimed.append(await claim(*args))
            return claimed[-1]

        monkeypatch.setattr(batches, "claim", slow)
        await made(gate, await gate.key(), "a")
        await asyncio.wait_for(asked.wait(), 9)
        closing = asyncio.create_task(gate.running.worker.close(0))
        await asyncio.sleep(0)
        go.set()
        await closing
        assert len(claimed) == 1 and claimed[0] is not None
        with looking(folder) as ledger:
            assert tuple(ledger.execute("SELECT state, crashes FROM batch_request").fetchone()) == ("waiting", 0)
