"""Batches are read back by their wallet, page by page; steps are small; and what nobody knows of is canceled.

Method: the store's own verbs on both databases.
"""

from typing import Any

import pytest

from faregate.core.batch import KEPT_MS, RequestState
from faregate.core.errors import NotReady
from faregate.store import batches
from faregate.store.database import unavailable
from faregate.store.store import Store
from tests.store.batched import BATCH, HELD, make, new, request
from tests.store.books import NOW, WALLET, fund, funds

IDS = [f"{BATCH[:-1]}{number}" for number in range(5)]


async def test_a_page_is_newest_first_and_knows_whether_there_is_more(store: Store) -> None:
    await fund(store, 100 * HELD)
    for id_ in IDS:
        await make(store, 1, id=id_)

    async def page(limit: int, after: str | None = None, before: str | None = None) -> tuple[list[str], bool]:
        found, more = await store.batches.page(WALLET, after=after, before=before, limit=limit)
        return [batch.id[-1] for batch in found], more

    assert await page(2) == (["4", "3"], True)
    assert await page(9) == (["4", "3", "2", "1", "0"], False)
    assert await page(2, after=IDS[3]) == (["2", "1"], True)
    assert await page(2, after=IDS[2]) == (["1", "0"], False)
    assert await page(2, before=IDS[1]) == (["3", "2"], True)
    assert await page(2, before=IDS[2]) == (["4", "3"], False)
    assert await page(9, after=IDS[4], before=IDS[1]) == (["3", "2"], False)
    assert (await store.batches.page("other", after=None, before=None, limit=9)) == ([], False)
    assert await store.batches.find("other", IDS[0]) is None


async def test_results_are_read_on_from_where_the_last_ended(store: Store) -> None:
    await fund(store, 100 * HELD)
    await make(store, 5)
    first = await store.batches.results(WALLET, BATCH, after=-1, limit=3)
    rest = await store.batches.results(WALLET, BATCH, after=first[-1][0], limit=3)

    assert [row[1] for row in first + rest] == [f"r{number}" for number in range(5)]
    assert {row[2] for row in first + rest} == {RequestState.WAITING}


def test_a_step_has_so_many_requests_and_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "STEP", 3)
    monkeypatch.setattr(batches, "STEP_BYTES", 10)

    def sizes(*lengths: int) -> list[int]:
        requests = [request(number, params=b"x" * length) for number, length in enumerate(lengths)]
        steps = batches._steps(requests)
        assert [made for step in steps for made in step] == requests
        return [len(step) for step in steps]

    assert sizes(1, 1, 1, 1) == [3, 1]
    assert sizes(6, 4, 1) == [2, 1]
    assert sizes(99, 99, 1) == [1, 1, 1]


async def test_a_batch_that_may_have_been_made_unheard_is_canceled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fund(store, 100 * HELD)
    write = store.batches._write

    async def unheard(apply: Any, command: Any, wallet_id: str) -> Any:
        await write(apply, command, wallet_id)
        raise unavailable(OSError("cut"), unknown=True)

    monkeypatch.setattr(store.batches, "_write", unheard)
    with pytest.raises(NotReady):
        await store.batches.make(new(2), [request(0), request(1)])
    monkeypatch.undo()
    assert (await funds(store))[1] == 2 * HELD
    await store.batches.tidy(NOW)

    assert await funds(store) == (100 * HELD, 0)


async def test_results_are_forgotten_when_their_time_is_over_and_not_before(store: Store) -> None:
    await fund(store, 100 * HELD)
    await make(store, 2)
    await store.batches.cancel(WALLET, BATCH, NOW)
    await store.batches.tidy(NOW)
    await store.batches.forget(NOW + KEPT_MS - 1)
    assert len(await store.batches.results(WALLET, BATCH, after=-1, limit=9)) == 2
    await store.batches.forget(NOW + KEPT_MS)
    found = await store.batches.find(WALLET, BATCH)

    assert found is not None and found.archived_at_ms == NOW + KEPT_MS
    assert await store.batches.results(WALLET, BATCH, after=-1, limit=9) == []
    await funds(store)
