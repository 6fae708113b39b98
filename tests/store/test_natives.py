"""Who looks after an upstream's batch: its process while it lives, and then whoever is first.

Method: one ledger on each database, opened again as a restart would, and by another node.
"""

from pathlib import Path

import msgspec

from faregate.store.store import Store
from tests.store.batched import make
from tests.store.books import fund, opening
from tests.store.test_native_queue import NATIVE, filled


async def test_a_restart_finds_what_its_earlier_life_has_left_and_adopts_it_once(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        await make(store, 2)
        await filled(store)
        assert await store.natives.submit(NATIVE)
    async with opening(folder) as store:
        (found,) = await store.natives.open()
        assert not found.ours
        assert not await store.natives.submitted(msgspec.structs.replace(NATIVE, upstream_id="x")), "another life's"
        assert await store.natives.adopt(found)
        assert not await store.natives.adopt(found)
        (found,) = await store.natives.open()
        assert found.ours


async def test_one_whose_node_is_unknown_is_anybodys(store: Store) -> None:
    await fund(store, 10_000_000)
    await make(store, 1)
    await filled(store)
    gone = msgspec.structs.replace(NATIVE, owner=store.natives._owner)
    store.natives._owner = ("nobody", 1)
    assert await store.natives.adopt(gone)
    store.natives._owner = gone.owner

    (found,) = await store.natives.open()
    assert not found.ours and found.owner == ("nobody", 1)
