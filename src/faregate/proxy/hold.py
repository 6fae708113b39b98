"""A hold that was taken, and the two verbs that end it: `settle` with money, `release` without. Whichever comes first
counts; the other then does nothing. The ledger carries out what it was once told, whatever becomes of this task.
"""

import asyncio
from collections.abc import Iterable

from faregate.core.ledger import Basis, Lose, Loss, Outcome, Release, Reserve, Reserved, Settle, split, unused
from faregate.core.meter import Reading
from faregate.core.money import ZERO, Nanos
from faregate.core.pricing import PriceVersion
from faregate.proxy.port import Gateway, Headers
from faregate.proxy.replay import Copy
from faregate.wire.usage import NOTHING, Usage

UNUSED = Reading(usage=NOTHING, basis=Basis.NOTHING)


class Hold:
    """One open charge."""

    def __init__(self, gate: Gateway, command: Reserve, price: PriceVersion, reserved: Reserved) -> None:
        self._gate = gate
        self._command = command
        self._price = price
        self.charge_id = command.charge_id
        self.request_id = command.request_id
        self.held = reserved.held
        self.max_tokens = reserved.max_tokens
        self.available = reserved.available
        self.quota_available = reserved.quota_available
        self.rates = reserved.rates
        """The key's rates as they stood with this call taken."""
        self.outcome: Outcome | None = None
        """How the charge was ended; None while it is open."""
        self.reading = UNUSED
        self.charged = ZERO
        self.shortfall = ZERO

    def streaming(self) -> None:
        """The first event goes to the caller now."""
        self._gate.ledger.streaming(self.charge_id, self._command.wallet_id, self._gate.now_ms())

    def copy(self, headers: Headers, *, stream: bool) -> Copy | None:
        """A copy of the answer to make on its way; None where no repeat will be given it."""
        keeping = self._gate.keeping
        if not keeping.kept_ms or self._command.idempotency_key is None:
            return None
        return Copy(keeping, headers, stream=stream)

    async def settle(
        self,
        outcome: Outcome,
        reading: Reading,
        *,
        upstream: str,
        attempts: int,
        lost: Iterable[Usage] = (),
        copy: Copy | None = None,
    ) -> None:
        """Bill what was used, to the last token; what is above the hold is the operator's shortfall.

        `lost` is what attempts used that did not answer: the operator's loss. `copy` is the whole answer, to be kept.
        Raises NotReady when the database does not take it; the hold is then still open. Never raises CancelledError: a
        stop that comes now comes too late.
        """
        charged, shortfall = split(self._price.cost(reading.usage), self.held)
        wasted = self._cost(lost)
        unused_input, unused_output = self._unused(reading.usage)
        at_ms = self._gate.now_ms()
        await self._surely(
            Settle(
                charge_id=self.charge_id,
                wallet_id=self._command.wallet_id,
                key_id=self._command.key_id,
                outcome=outcome,
                usage=reading.usage,
                basis=reading.basis,
                charged=charged,
                shortfall=shortfall,
                loss=Loss.ERROR if wasted else None,
                loss_amount=wasted,
                upstream=upstream,
                attempts=attempts,
                unused_input_tokens=unused_input,
                unused_output_tokens=unused_output,
                answer=copy.answer(charged, at_ms) if copy is not None else None,
                at_ms=at_ms,
            )
        )
        self.outcome, self.reading, self.charged, self.shortfall = outcome, reading, charged, shortfall

    async def _surely(self, command: Settle) -> None:
        while True:
            try:
                return await self._gate.ledger.settle(command)
            except asyncio.CancelledError:
                # It will be carried out, so whoever is billed must see the end and not the error of a stop. The same
                # again changes nothing, and is answered right behind the first.
                continue

    async def release(
        self,
        outcome: Outcome,
        *,
        loss: Loss | None = None,
        loss_amount: Nanos = ZERO,
        reading: Reading = UNUSED,
        upstream: str | None = None,
        attempts: int = 0,
        lost: Iterable[Usage] = (),
    ) -> None:
        """Bill nothing. What upstream made of it all the same is the operator's, under the name of `loss`."""
        amount = Nanos(loss_amount + self._price.cost(reading.usage) + self._cost(lost))
        unused_input, unused_output = self._unused(reading.usage)
        await self._gate.ledger.release(
            Release(
                charge_id=self.charge_id,
                wallet_id=self._command.wallet_id,
                key_id=self._command.key_id,
                outcome=outcome,
                usage=reading.usage,
                basis=reading.basis,
                loss=(loss or Loss.ERROR) if amount else None,
                loss_amount=amount,
                upstream=upstream,
                attempts=attempts,
                unused_input_tokens=unused_input,
                unused_output_tokens=unused_output,
                at_ms=self._gate.now_ms(),
            )
        )
        self.outcome, self.reading = outcome, reading

    def _unused(self, usage: Usage) -> tuple[int, int]:
        # Most keys have no rates, and what nothing was taken from takes nothing back.
        return unused(self._command, usage) if self.rates else (0, 0)

    async def lose(self, cost: Nanos, lost: Iterable[Usage] = ()) -> None:
        """Book what a call that its caller has left came to cost after all, beyond what its end has booked."""
        amount = Nanos(cost + self._cost(lost) - self.charged - self.shortfall)
        if amount > 0:
            await self._gate.ledger.lose(
                Lose(
                    charge_id=self.charge_id,
                    wallet_id=self._command.wallet_id,
                    key_id=self._command.key_id,
                    loss=Loss.ABANDON,
                    loss_amount=amount,
                    at_ms=self._gate.now_ms(),
                )
            )

    def cost(self, usage: Usage) -> Nanos:
        """What a usage costs at this hold's price."""
        return self._price.cost(usage)

    def _cost(self, usages: Iterable[Usage]) -> Nanos:
        return Nanos(sum(self._price.cost(usage) for usage in usages))


async def take(gate: Gateway, command: Reserve, price: PriceVersion) -> Hold:
    """Reserve the ceiling, or what the wallet affords of it. Raises as `Ledger.reserve` does."""
    try:
        reserved = await gate.ledger.reserve(command)
    except asyncio.CancelledError:
        # The command is in the ledger's queue and will be carried out; so will its release, right behind it.
        await gate.ledger.release(
            Release(
                charge_id=command.charge_id,
                wallet_id=command.wallet_id,
                key_id=command.key_id,
                outcome=Outcome.SHUTDOWN,
                unused_input_tokens=command.input_tokens,
                unused_output_tokens=command.output_tokens,
                at_ms=gate.now_ms(),
            )
        )
        raise
    gate.observer.reserved(reserved.held)
    return Hold(gate, command, price, reserved)
