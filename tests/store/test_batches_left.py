"""A claim that nobody runs is taken back, and only such a one: unheard, of a node that is gone, or ours once before.

Method: the store's own verbs; on PostgreSQL a watcher whose clock is handed in, beside an owner that is gone.
"""

from pathlib import Path
from typing import Any

import pytest

from faregate.core.errors import NotReady
from faregate.core.money import Nanos
from faregate.store.database import unavailable
from faregate.store.lease import RENEW_S
from faregate.store.store import Store
from tests.store.batched import BATCH, HELD, claimed, make, succeeded
from tests.store.books import NOW, WALLET, fund, funds, opening
from tests.store.test_batch_queue import again
from tests.store.watch import FIRST_SWEEP, STEADY, watching

SIXTY_S_OLD = "UPDATE node SET seen_at = (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint - 60000 WHERE name = "


async def test_a_claim_that_nobody_heard_of_is_taken_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fund(store, 9 * HELD)
    await make(store, 2)
    kept = await claimed(store)
    write = store.batches._write

    async def unheard(apply: Any, command: Any, wallet_id: str) -> Any:
        await write(apply, command, wallet_id)
        raise unavailable(OSError("cut"), unknown=True)

    monkeypatch.setattr(store.batches, "_write", unheard)
    with pytest.raises(NotReady):
        await store.batches.claim(WALLET, BATCH, NOW)
    monkeypatch.undo()
    assert await store.batches.claim(WALLET, BATCH, NOW) is None
    await store.batches.tidy(NOW)
    back = await claimed(store)

    assert (back.number, back.crashes) == (1, 1)
    assert await store.batches.end(succeeded(kept)) and await store.batches.end(succeeded(back))
    assert await funds(store) == (9 * HELD - 2 * 75_000, 0)


async def test_a_claim_that_was_made_again_is_not_ended_by_who_had_it_before(store: Store) -> None:
    await fund(store, 9 * HELD)
    await make(store, 1)
    first = await claimed(store)
    assert await store.batches.put_back(again(first))
    second = await claimed(store, NOW + 100)

    assert not await store.batches.put_back(again(first)), "said once more, for its answer was lost"
    assert not await store.batches.end(succeeded(first))
    await store.batches.tidy(NOW + 200)
    assert await store.batches.end(succeeded(second, loss_amount=Nanos(0)))
    assert await funds(store) == (9 * HELD - 75_000, 0)


async def test_who_was_away_himself_takes_nothing_from_the_living_before_they_can_renew(database: Path) -> None:
    async with watching(database) as watch:
        async with opening(database, node="other") as other:
            await make(other, 1)
            ticket = await claimed(other)
            queue = watch.store.batches
            queue._owner = ("watcher", 1)
            queue.leased(watch.lease)
            watch.raw.do(SIXTY_S_OLD + "'other'")
            await watch.steps(0)
            await queue.tidy(NOW)
            assert await queue.claim(WALLET, BATCH, NOW) is None, "everybody's lease is old after such a time"
        for now in (*STEADY[1:], FIRST_SWEEP, FIRST_SWEEP + RENEW_S):
            await watch.steps(now)
        watch.raw.do(SIXTY_S_OLD + "'other'")
        await queue.tidy(NOW)
        back = await queue.claim(WALLET, BATCH, NOW)

        assert back is not None and (back.number, back.crashes) == (ticket.number, 1)
