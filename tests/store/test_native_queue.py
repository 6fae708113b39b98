"""Requests join an upstream's batch, end by it once, and come back: each step a compare-and-set.

Method: the store's own verbs on each database.
"""

import msgspec
import pytest

from faregate.core.batch import RequestState
from faregate.core.batch_commands import Ticket
from faregate.core.native_batch import GiveBack, Native, NativeState
from faregate.store import natives as store_natives
from faregate.store.store import Store
from tests.store.batched import BATCH, claimed, make, succeeded
from tests.store.books import NOW, PRICE, WALLET, fund

MODELS = (PRICE.model,)
NATIVE = Native(wallet_id=WALLET, id="native_1", batch_id=BATCH, upstream="up")


@pytest.fixture
async def made(store: Store) -> Store:
    await fund(store, 10_000_000)
    await make(store, 3)
    return store


async def filled(store: Store, native: Native = NATIVE) -> list[Ticket]:
    return await store.natives.fill(native, MODELS, NOW)


def back(**fields: bool) -> GiveBack:
    return msgspec.structs.replace(GiveBack(native=NATIVE, again_at_ms=NOW, tried=False), **fields)


async def test_what_has_joined_is_claimed_by_nobody_else(made: Store) -> None:
    tickets = await filled(made)

    assert [ticket.number for ticket in tickets] == [0, 1, 2]
    assert await made.batches.claim(WALLET, BATCH, NOW) is None
    assert await filled(made, msgspec.structs.replace(NATIVE, id="native_2")) == []
    assert [native.id for native in await made.natives.open()] == ["native_1"], "an empty one is not opened"
    await made.batches.tidy(NOW)
    assert await made.natives.ticket(NATIVE, tickets[0].charge_id) is not None, "nobody takes it for left"


async def test_a_batch_has_a_bound_and_at_least_one(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_natives, "REQUESTS_MAX", 2)
    assert len(await filled(made)) == 2
    monkeypatch.setattr(store_natives, "BYTES_MAX", 1)
    assert len(await filled(made, msgspec.structs.replace(NATIVE, id="native_2"))) == 1


async def test_the_queue_leaves_what_was_never_tried_to_upstreams_batches(made: Store) -> None:
    assert await made.batches.claim(WALLET, BATCH, NOW, MODELS) is None
    assert await made.batches.claim(WALLET, BATCH, NOW, ("another",)) is not None
    assert await made.natives.untried(MODELS, NOW) == (WALLET, BATCH)
    assert await made.natives.untried(("another",), NOW) is None
    await filled(made)
    await made.natives.give_back(back(tried=True), NOW)
    assert await made.natives.untried(MODELS, NOW) is None
    assert await made.batches.claim(WALLET, BATCH, NOW, MODELS) is not None


@pytest.mark.parametrize(
    ("how", "row"),
    [({}, (0, 0, 0)), ({"tried": True}, (1, 0, 0)), ({"tried": True, "crashed": True, "cost": True}, (1, 1, 100_000))],
)
async def test_what_is_given_back_says_what_became_of_it(made: Store, how: dict[str, bool], row: object) -> None:
    tickets = await filled(made)
    assert await made.natives.give_back(back(**how), NOW) == 3
    ticket = await claimed(made)

    assert (ticket.tries, ticket.crashes, ticket.wasted) == row
    assert await made.natives.give_back(back(**how), NOW) == 0
    assert await made.natives.open() == []
    assert not await made.natives.end(NATIVE, succeeded(tickets[0])), "it is another's by now"


async def test_a_result_that_comes_twice_changes_nothing(made: Store) -> None:
    ticket = (await filled(made))[0]

    assert await made.natives.end(NATIVE, succeeded(ticket))
    funds = await made.office.wallet_find(WALLET)
    assert not await made.natives.end(NATIVE, succeeded(ticket))
    assert await made.natives.ticket(NATIVE, ticket.charge_id) is None
    assert await made.office.wallet_find(WALLET) == funds
    assert [finding for finding in await made.office.audit() if finding.count] == []
    assert [state for _, _, state, _ in await made.batches.results(WALLET, BATCH, after=-1, limit=1)] == [
        RequestState.SUCCEEDED
    ]


async def test_it_is_submitted_once_and_by_its_owner(made: Store) -> None:
    await filled(made)
    named = msgspec.structs.replace(NATIVE, upstream_id="theirs")

    assert not await made.natives.submitted(named), "nobody has asked upstream yet"
    assert await made.natives.submit(NATIVE)
    assert not await made.natives.submit(NATIVE)
    assert await made.natives.submitted(named)
    (found,) = await made.natives.open()
    assert (found.state, found.upstream_id, found.ours) == (NativeState.PROCESSING, "theirs", True)


async def test_what_was_given_up_for_lost_is_not_submitted_any_more(made: Store) -> None:
    await filled(made)
    assert await made.natives.submit(NATIVE)
    await made.natives.give_back(back(tried=True), NOW)

    assert not await made.natives.submitted(msgspec.structs.replace(NATIVE, upstream_id="theirs"))
