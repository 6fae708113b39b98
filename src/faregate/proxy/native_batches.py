"""The batches of upstreams that one gateway looks after: which are to be made, which go on, and who is asked when.

The rule: all of it follows from the ledger. Each look starts what has no task here: a batch that another process has
left, one of ours after a restart, and a new one for requests that were never tried.

    look ──> resume what is open ──> bring what is new, one at a time
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from faregate.core.errors import NotReady
from faregate.core.native_batch import Native
from faregate.core.routing import Route
from faregate.proxy.batch_run import FindKey
from faregate.proxy.native_run import NativeRun
from faregate.proxy.port import Gateway
from faregate.store.port import Natives
from faregate.upstreams.port import BatchUpstream

BRING_S: Final = 5.0
"""After a look that found nothing to bring: it reads through all that waits, and nobody is in a hurry."""
FAILED_S: Final = 60.0
"""Before a batch is looked after again whose task failed by a fault of ours."""


class NativeBatches:
    """`upstreams` are all that may have batches of their own; those in `takers` are brought new ones."""

    def __init__(
        self,
        gate: Gateway,
        natives: Natives,
        upstreams: Mapping[str, BatchUpstream],
        takers: frozenset[str],
        find_key: FindKey,
    ) -> None:
        self._gate = gate
        self._natives = natives
        self._upstreams = upstreams
        self._find_key = find_key
        self._roads = _roads(gate, takers)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, NativeRun] = {}
        self._rests: dict[str, float] = {}
        """Until when an upstream is brought no batch, or a batch that failed here is left alone."""
        self._bring_at = 0.0
        """When to look next for what may be brought."""
        self._stopping = False
        self.models = tuple(model for models in self._roads.values() for model in models)
        """Those whose requests go to an upstream's batches first."""

    async def look(self) -> None:
        """Start what has no task."""
        for native in await self._natives.open():
            run = self._runs.get(native.id)
            if run is None and not self._rests_now(native.id):
                if not native.ours and not await self._adopted(native):
                    continue
                run = self._run(native)
                self._start(run, run.resume())
            if run is not None and native.canceling:
                run.cancel()
        if asyncio.get_running_loop().time() >= self._bring_at and not any(run.bringing for run in self._runs.values()):
            await self._bring()

    async def close(self, wait_s: float) -> None:
        """Begin no more, wait so long for an upstream that is just asked to take a batch, and leave the rest as it is
        written down. Safe to repeat."""
        self._stopping = True
        handing = []
        for id_, run in self._runs.items():
            run.stop()
            if run.handing_over:
                handing.append(self._tasks[id_])
            else:
                self._tasks[id_].cancel()
        if handing:
            await asyncio.wait(handing, timeout=max(0.0, wait_s))
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _adopted(self, native: Native) -> bool:
        try:
            return await self._natives.adopt(native)
        except NotReady:  # One wallet that cannot be written to keeps no other waiting.
            return False

    async def _bring(self) -> None:
        """Open one for the oldest batch that has requests for it."""
        for name, models in self._roads.items():
            found = None if self._rests_now(name) else await self._natives.untried(models, self._gate.now_ms())
            if found is not None:
                wallet_id, batch_id = found
                id_ = self._gate.new_id("native_")
                run = self._run(Native(wallet_id=wallet_id, id=id_, batch_id=batch_id, upstream=name))
                self._start(run, run.begin(models))
                return
        self._bring_at = asyncio.get_running_loop().time() + BRING_S

    def _run(self, native: Native) -> NativeRun:
        return NativeRun(self._gate, self._natives, native, self._upstreams.get(native.upstream), self._find_key)

    def _start(self, run: NativeRun, life: Coroutine[Any, Any, None]) -> None:
        if self._stopping:
            life.close()
            return
        self._runs[run.native.id] = run
        self._tasks[run.native.id] = asyncio.create_task(self._live(run, life))

    async def _live(self, run: NativeRun, life: Coroutine[Any, Any, None]) -> None:
        native, time = run.native, asyncio.get_running_loop().time
        try:
            await life
        except Exception as error:
            # The ledger knows where it stands: it goes on from there.
            self._rests[native.id] = time() + FAILED_S
            self._gate.observer.trouble(native.batch_id, f"{native.id} at {native.upstream} is left for a while", error)
        finally:
            if run.rest_ms:
                self._rests[native.upstream] = time() + run.rest_ms / 1_000
            del self._runs[native.id], self._tasks[native.id]

    def _rests_now(self, name: str) -> bool:
        return self._rests.get(name, 0.0) > asyncio.get_running_loop().time()


def _roads(gate: Gateway, takers: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """By upstream, the models whose requests go to its batches: those that it is asked for first."""
    roads: dict[str, list[str]] = {}
    for model in gate.catalog.models():
        first = _first(gate.routes.route(model.id))
        if first in takers:
            roads.setdefault(first, []).append(model.id)
    return {name: tuple(models) for name, models in roads.items()}


def _first(route: Route) -> str:
    """The first of a route, or the one with the greatest weight."""
    if not route.weights:
        return next(iter(route.upstreams), "")
    return max(zip(route.weights, route.upstreams, strict=True), key=lambda pair: pair[0])[1]
