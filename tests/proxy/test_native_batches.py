"""Which requests are brought to an upstream's batches, and which are not.

Method: whole gateways on each database with a peer that has batches.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from faregate.core.routing import Route, Routes
from faregate.proxy.native_batches import _roads
from faregate.upstreams.script import plain
from tests.contract.batches import COST, GOOD, LEFT, OPENING, PATH, made, over
from tests.contract.batches import good as called
from tests.contract.natives import good, hasten, native
from tests.contract.riders import until
from tests.gateway import MODEL, ask, running
from tests.postgres import URL
from tests.upstreams.batch_peer import BatchPeer, succeeded


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def test_a_request_goes_to_the_batches_of_the_upstream_that_is_asked_first(folder: Path) -> None:
    async with running(folder) as whole:
        gate = whole.running.gate

        def road(*upstreams: str, weights: tuple[int, ...] = ()) -> tuple[str, ...]:
            routes = Routes(["fake"], {MODEL: Route(upstreams=upstreams, weights=weights)})
            return tuple(_roads(msgspec.structs.replace(gate, routes=routes), frozenset({"a", "b"})))

        assert road("a", "other") == ("a",)
        assert road("other", "a") == ()
        assert road("a", "b", "other", weights=(1, 3, 2)) == ("b",)
        assert road("a", "other", weights=(1, 2)) == ()


async def test_requests_of_one_batch_go_each_their_own_way(folder: Path) -> None:
    def result(custom_id: str, params: dict[str, Any]) -> dict[str, Any]:
        return succeeded(GOOD)

    peer = BatchPeer(result, polls=1)
    async with native(folder, peer) as gate:
        other = next(model.id for model in gate.running.gate.catalog.models() if model.id != MODEL)
        gate.upstream.play(called)
        toml_routes = gate.running.gate.routes.route(other).upstreams
        assert toml_routes[0] == "fake"
        key = await gate.key()
        requests = [{"custom_id": name, "params": ask(model=name)} for name in (MODEL, other)]
        batch_id = (await gate.post(PATH, key, {"requests": requests})).json()["id"]

        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 2
        assert len(peer.billed) == 1 and len(gate.upstream.log) == 1


async def test_a_batch_of_many_is_brought_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faregate.store.natives.REQUESTS_MAX", 70)
    peer = BatchPeer(good)
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, *(f"r{number}" for number in range(150))))["id"]

        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 150
        assert [len(kept.requests) for kept in peer.batches.values()] == [70, 70, 10]
        assert await gate.books() == (OPENING - 150 * COST, 0)


async def test_a_gateway_that_runs_nothing_of_batches_brings_nothing(folder: Path) -> None:
    peer = BatchPeer(good, calls=plain(GOOD))
    async with native(folder, peer, toml=LEFT) as gate:
        await made(gate, await gate.key(), "a")
        await gate.running.worker.close(0)

        assert not peer.asked


async def test_a_live_replicas_batches_are_its_own_and_both_bring_each_request_once(database: Path) -> None:
    peer, second = BatchPeer(good, polls=10**6), BatchPeer(good, polls=1)
    for name in ("one", "two"):
        (database / name).mkdir()
        (database / name / URL).write_text((database / URL).read_text())
    async with native(database / "one", peer, node="one") as one, native(database / "two", second, node="two") as two:
        key = await one.key()
        batch_id = (await made(one, key, *(f"r{number}" for number in range(150))))["id"]
        await until(lambda: sum(len(kept.requests) for of in (peer, second) for kept in of.batches.values()) == 150)
        await two.running.worker.close(0)
        assert all(native.ours for native in await two.running.store.natives.open())
        assert all(native.ours for native in await one.running.store.natives.open())
        for kept in (*peer.batches.values(), *second.batches.values()):
            kept.polls = 0
        handed = [request["custom_id"] for kept in peer.batches.values() for request in kept.requests]
        handed += [request["custom_id"] for kept in second.batches.values() for request in kept.requests]
        assert len(set(handed)) == 150
        assert batch_id
