"""The worker of batches: each gateway takes requests from the queue in the ledger, a few at a time, beside the calls.

The rule: everything it needs to go on is in the database, so it may be stopped or killed at any moment. Wallets take
turns, and of each wallet its batches, however many of its requests are free to run: a large one does not keep a small
one waiting, nor one wallet another.

    every LOOK_S, or when there is something to do:    tidy -> claim, claim, claim ... -> run each as a task
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from faregate.proxy.batch_run import FindKey, Run
from faregate.proxy.drain import Drains
from faregate.proxy.port import Gateway
from faregate.store.port import Batches

LOOK_S: Final = 1.0
"""Between two looks at what other replicas have made, or what may be run again."""
FORGET_S: Final = 60.0
"""Between two looks at results whose time is over."""
LAST_MAX: Final = 10_000
"""So many wallets and batches are remembered by their last turn, at least: whoever is forgotten is first again."""


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
    ) -> None:
        self._gate = gate
        self._batches = batches
        self._find_key = find_key
        self._log = log
        self._may_begin: Callable[[], bool] = lambda: True
        self._wake = asyncio.Event()
        self._stopping = False
        self._idle = asyncio.Event()
        """Set while it is not at work."""
        self._idle.set()
        self._listed: list[tuple[str, str]] = []
        self._listed_at = 0.0
        self._turns = 0
        self._last: dict[str | tuple[str, str], int] = {}
        """When a wallet, and a batch of it, had its last turn."""
        self.runs = Drains(concurrency)

    def wake(self) -> None:
        """There is something to do: a batch was made or canceled, or a request has ended."""
        self._wake.set()

    async def close(self, wait_s: float) -> None:
        """Begin no more, wait so long for what runs, then put it back. Safe to repeat; `work` has then ended."""
        self._stopping = True
        self.wake()
        await self.runs.close(wait_s)
        await self._idle.wait()  # What was claimed meanwhile has been put back.

    async def work(self, may_begin: Callable[[], bool]) -> None:
        """Work until closed, and begin requests while so allowed. What the ledger was asked for is waited for: no claim
        is lost."""
        self._may_begin = may_begin
        self._idle.clear()
        try:
            await self._work()
        finally:
            self._idle.set()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        forgotten_at = loop.time() - FORGET_S
        while not self._stopping:
            self._wake.clear()
            await self._look(self._batches.tidy(self._gate.now_ms()))
            if loop.time() - forgotten_at >= FORGET_S:
                forgotten_at = loop.time()
                await self._look(self._batches.forget(self._gate.now_ms()))
            await self._look(self._claim())
            await self._rest()

    async def _look(self, look: Awaitable[None]) -> None:
        """What one look cannot do keeps no other from its work, and is found the next time."""
        try:
            await look
        except Exception as error:
            self._log.error("batches could not be looked after", exc_info=error)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _claim(self) -> None:
        """Fill what is free with requests: each next one of the wallet, and there of the batch, whose last turn was the
        longest ago."""
        now_ms, turn = self._gate.now_ms(), await self._who_waits()
        while turn and self._has_room:
            batch = min(turn, key=self._since)
            # Its turn it has had, whatever comes of it: one wallet that cannot be written to keeps no other waiting.
            self._turns += 1
            self._last[batch[0]] = self._last[batch] = self._turns
            ticket = await self._batches.claim(*batch, now_ms)
            if ticket is None:
                turn.remove(batch)
                continue
            run = Run(self._gate, self._batches, ticket, self._find_key)
            if self._stopping:
                await run.leave()
                return
            self.runs.begin(self._run(run))

    async def _who_waits(self) -> list[tuple[str, str]]:
        """Whose turn it may be: read anew when nobody is left of those who were, or after LOOK_S. It may be a long list
        that is read for each request that ends."""
        at = asyncio.get_running_loop().time()
        if self._has_room and (not self._listed or at - self._listed_at >= LOOK_S):
            self._listed, self._listed_at = await self._batches.waiting(self._gate.now_ms()), at
            if len(self._last) > LAST_MAX:
                present = {wallet_id for wallet_id, _ in self._listed} | set(self._listed)
                self._last = {name: at for name, at in self._last.items() if name in present}
        return self._listed

    def _since(self, batch: tuple[str, str]) -> tuple[int, int]:
        return self._last.get(batch[0], 0), self._last.get(batch, 0)

    @property
    def _has_room(self) -> bool:
        return self.runs.has_room and not self._stopping and self._may_begin()

    async def _run(self, claimed: Run) -> None:
        try:
            await claimed.run()
        finally:
            self.wake()
