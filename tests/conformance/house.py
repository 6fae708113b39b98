"""The gateway that a conformance run calls, and the proof that what it billed is what its upstream said.

The rule: nothing is taken from the gateway's own arithmetic. A receipt is laid beside the answer that the upstream gave
for it, call by call, and priced here from the price list as people print it; then the wallet's balance must be the sum.

    async with opened(folder) as house:
        rider = await house.rider("python")       a wallet and a key of its own
        ... clients ride ...
        bill = await rider.bill()                 calls, credits, and what does not agree
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from faregate.upstreams.script import Seen
from tests.conformance.answers import Upstream
from tests.gateway import Gate, running

MODEL: Final = "claude-sonnet-4-6"
"""Takes all that clients send: thinking of both kinds, effort, 128,000 tokens of output."""
ALIASES: Final = ("model", "string", "model_id")
"""Beside the models of its time, what the SDK's tests ask for, mapped as an operator maps such names."""
PRICES: Final = {
    "input_tokens": "3.00",
    "output_tokens": "15.00",
    "cache_read_input_tokens": "0.30",
    "cache_creation_input_tokens": "3.75",
    "ephemeral_1h_input_tokens": "2.25",
}
"""USD per million tokens (which are credits per token), as the model's page has them: a write is 3.75, and one for an
hour that and 2.25 more."""


FUNDS: Final = "50000000"
"""Credits of a rider."""
BATCHES_S: Final = 60.0
SETTLED_S: Final = 5.0
"""How long a call that was answered may take to be in the books."""


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    calls: int
    """That reached the upstream."""
    cut: int
    """Of these, cut by their caller."""
    credits: Decimal
    wrong: tuple[str, ...]


class Rider:
    """One key on one wallet, and the part of the upstream's log since it was made."""

    def __init__(self, house: "House", name: str, key: str) -> None:
        self._house = house
        self._since = house.next_index
        self._name = name
        self.key = key

    def log(self) -> list[Seen]:
        """What the upstream was asked since this rider came."""
        return [
            seen
            for seen in self._house.gate.upstream.log
            if seen.index >= self._since and seen.path.partition("?")[0] == "/v1/messages"
        ]

    async def bill(self, expected: dict[int, dict[str, Any]] | None = None) -> Bill:
        """Lay receipts beside the upstream's answers. `expected` has usages where the script did not compose them."""
        await self._batches_ended()
        said = {
            seen.index: (expected[seen.index] if expected else self._house.script.said[seen.index]["usage"])
            for seen in self.log()
            if expected is not None or seen.index in self._house.script.said
        }
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                await self._house.gate.settled(self.key, count=len(said))
        receipts = await self._house.gate.receipts(self.key)
        wrong, total, cut = [], Decimal(0), 0
        if len(receipts) != len(said):
            wrong.append(f"{len(said)} calls reached the upstream, and there are {len(receipts)} receipts")
        left = list(said.values())
        for receipt in receipts:
            total += Decimal(receipt["charged"])
            was_cut = receipt["outcome"] == "client_gone"
            cut += was_cut
            found = next((usage for usage in left if _agrees(receipt["usage"], usage, cut=was_cut)), None)
            if was_cut and receipt["basis"] == "nothing":
                fault = Decimal(receipt["charged"]) != 0
            elif found is None:
                fault = True
            else:
                left.remove(found)
                owed = price(receipt["usage"]) if was_cut else price(found)
                if receipt["service_tier"] == "batch":
                    owed = (owed / 2).quantize(Decimal("0.001"), ROUND_DOWN)
                fault = Decimal(receipt["charged"]) != owed
            if fault or Decimal(receipt["charged"]) > Decimal(receipt["max"]) or Decimal(receipt["shortfall"]):
                wrong.append(f"{receipt['id']}: {receipt['outcome']}, {receipt['usage']}, charged {receipt['charged']}")
        posted, held = await self._house.gate.books(self._name)
        if held or Decimal(FUNDS) - total != Decimal(posted) / 1_000:
            wrong.append(f"the wallet holds {held} and has {posted} nanodollars left after charges of {total} credits")
        return Bill(calls=len(said), cut=cut, credits=total, wrong=tuple(wrong))

    async def _batches_ended(self) -> None:
        """Wait for what goes on when its maker has left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BATCHES_S):
                while True:
                    listed = await self._house.gate.get("/v1/messages/batches?limit=1000", self.key)
                    if all(one["processing_status"] == "ended" for one in listed.json()["data"]):
                        return
                    await asyncio.sleep(0.1)


class House:
    def __init__(self, gate: Gate, script: Upstream) -> None:
        self.gate = gate
        self.script = script

    @property
    def next_index(self) -> int:
        log = self.gate.upstream.log
        return log[-1].index + 1 if log else 0

    async def rider(self, name: str, credits: str = FUNDS) -> Rider:  # noqa: A002 - the word for it
        """A wallet of this name with a key."""
        return Rider(self, name, await self.gate.key(name, credits))


@contextlib.asynccontextmanager
async def opened(folder: Path, aliases: Collection[str] = ()) -> AsyncIterator[House]:
    """A gateway on loopback, wired as an operator would for clients that ask for models by other names."""
    script = Upstream()
    listed = ", ".join(f'"{alias}"' for alias in sorted({*ALIASES, *aliases}))
    toml = f'[[routes]]\nmodel = "{MODEL}"\nupstreams = ["fake"]\naliases = [{listed}]\n'
    async with running(folder, script=script, toml=toml) as gate:
        yield House(gate, script)


def price(usage: dict[str, Any]) -> Decimal:
    """What a usage costs in credits, by the printed prices."""
    counts = {**usage, **(usage.get("cache_creation") or {})}
    return sum((Decimal(each) * (counts.get(name) or 0) for name, each in PRICES.items()), Decimal(0))


def _agrees(billed: dict[str, Any], said: dict[str, Any], *, cut: bool) -> bool:
    """Whether a receipt can be for this answer: the same counts, or of an answer that was cut no more output."""
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    if any(billed[name] != (said.get(name) or 0) for name in names):
        return False
    billed_output, said_output = billed["output_tokens"], said["output_tokens"]
    return bool(billed_output <= said_output if cut else billed_output == said_output)
