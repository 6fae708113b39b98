"""The worker of batches: each gateway takes requests from the queue in the ledger, a few at a time, beside the calls.

The rule: everything it needs to go on is in the database, so it may be stopped or killed at any moment. Batches take
turns, oldest first: a large one does not keep a small one waiting.

    every LOOK_S, or when there is something to do:    tidy -> claim, claim, claim ... -> run each as a task
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from faregate.core.errors import GatewayError
from faregate.proxy.batch_run import FindKey, Run
from faregate.proxy.drain import Drains
from faregate.proxy.native_batches import NativeBatches
from faregate.proxy.port import Gateway
from faregate.store.port import Batches
from faregate.store.store import Store
from faregate.upstreams.anthropic import Anthropic

LOOK_S: Final = 1.0
"""Between two looks at what other replicas have made, or what may be run again."""
FORGET_S: Final = 60.0
"""Between two looks at results whose time is over."""


class Worker:
    """The worker of one gateway. `runs` are the requests under way: a stop treats them as it does a drain."""

    def __init__(
        self,
        gate: Gateway,
        batches: Batches,
        find_key: FindKey,
        *,
        concurrency: int,
        log: Any,
        natives: NativeBatches | None = None,
    ) -> None:
        """`natives`: batches of upstreams, which are looked after here where any of a batch is run."""
        self._gate = gate
        self._batches = batches
        self._find_key = find_key
        self._log = log
        self._natives = natives if concurrency else None
        self._may_begin: Callable[[], bool] = lambda: True
        self._wake = asyncio.Event()
        self._stopping = False
        self.runs = Drains(concurrency)

    def wake(self) -> None:
        """There is something to do: a batch was made or canceled, or a request has ended."""
        self._wake.set()

    async def close(self, wait_s: float) -> None:
        """Begin no more, wait so long for what runs, then put it back. Safe to repeat; `work` has then ended."""
        self._stopping = True
        self.wake()
        natives = [self._natives.close(wait_s)] if self._natives is not None else []
        await asyncio.gather(self.runs.close(wait_s), *natives)

    async def work(self, may_begin: Callable[[], bool]) -> None:
        """Work until closed, and begin requests while so allowed. What the ledger was asked for is waited for: no claim
        is lost."""
        self._may_begin = may_begin
        loop = asyncio.get_running_loop()
        forgotten_at = loop.time() - FORGET_S
        while not self._stopping:
            self._wake.clear()
            try:
                await self._batches.tidy(self._gate.now_ms())
                if loop.time() - forgotten_at >= FORGET_S:
                    forgotten_at = loop.time()
                    await self._batches.forget(self._gate.now_ms())
                if self._natives is not None and self._may_begin() and not self._stopping:
                    await self._natives.look()
                await self._claim()
            except GatewayError as error:  # What was left this time is found the next.
                self._log.error("batches could not be looked after", exc_info=error)
            await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _claim(self) -> None:
        """Fill what is free with requests, one of each batch in turn."""
        turn = await self._batches.waiting() if self._has_room else []
        while turn:
            left = []
            for wallet_id, batch_id in turn:
                if not self._has_room:
                    return
                ticket = await self._batches.claim(wallet_id, batch_id, self._gate.now_ms(), self._left_models)
                if ticket is not None:
                    left.append((wallet_id, batch_id))
                    self.runs.begin(self._run(Run(self._gate, self._batches, ticket, self._find_key)))
            turn = left

    @property
    def _left_models(self) -> tuple[str, ...]:
        return self._natives.models if self._natives is not None else ()

    @property
    def _has_room(self) -> bool:
        return self.runs.has_room and not self._stopping and self._may_begin()

    async def _run(self, claimed: Run) -> None:
        try:
            await claimed.run()
        finally:
            self.wake()


def batch_worker(gate: Gateway, store: Store, *, concurrency: int, log: Any) -> Worker:
    """The worker on a store, with the batches of those upstreams that have any."""
    having = {name: one for name, one in gate.upstreams.items() if isinstance(one, Anthropic)}
    find_key = store.office.key_find
    natives = NativeBatches(
        gate,
        store.natives,
        {name: one.batches for name, one in having.items()},
        frozenset(name for name, one in having.items() if one.takes_batches),
        find_key,
    )
    return Worker(gate, store.batches, find_key, concurrency=concurrency, log=log, natives=natives)
