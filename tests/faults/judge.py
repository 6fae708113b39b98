"""What callers noted, held against what the gateway says of itself, and against the books.

One rule: a charge is computed here, from the list prices as people read them.

    receipts   GET /v1/receipts/{id} of every message id that a caller saw
    wallet     GET /v1/wallet: nothing held, and what is gone is what was charged
    books      checker.py, with upstream's log
"""

import asyncio
import collections
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2

from tests.faults.books import Books, Usage
from tests.faults.callers import PAUSE_S, nanos, usage_of
from tests.faults.checker import Note, UpstreamCall, check

PRICE = {"input": 1_000, "output": 5_000, "cache_write_5m": 1_250, "cache_write_1h": 2_000, "cache_read": 100}
"""Of claude-haiku-4-5, in nanodollars a token: 1.00, 5.00, 1.25, 2.00 and 0.10 USD a million."""
REST_S_MAX = 90.0
"""Within which holds of the dead must have come back."""
BACK_S_MAX = 30.0
"""Within which a gateway must know that its database is back."""


class Verdict(NamedTuple):
    calls: int
    settled: int
    counts: dict[str, int]
    """lost, double, wrong, held, other: how many sentences there are of each."""
    broken: list[str]


async def rest(base_url: str, key: str) -> list[str]:
    """Wait until nothing is held any more."""
    async with _client(base_url, key) as client:
        deadline = asyncio.get_running_loop().time() + REST_S_MAX
        while True:
            wallet = await _get(client, "/v1/wallet")
            if wallet["held"] == "0":
                return []
            if asyncio.get_running_loop().time() > deadline:
                return [f"held: {wallet['held']} credits are still held {REST_S_MAX} s after the last call"]
            await asyncio.sleep(0.1)


async def receipts(base_url: str, key: str, notes: list[Note]) -> list[str]:
    """Each note against its receipt."""
    broken: list[str] = []
    async with _client(base_url, key) as client:
        for note in notes:
            if note.message_id is None:
                continue
            answer = await _answer(client, f"/v1/receipts/{note.message_id}")
            if answer.status_code != 200:
                broken.append(f"lost: {note.marker} saw {note.message_id}, its receipt is {answer.status_code}")
                continue
            broken += _against(note, answer.json())
    return broken


def _against(note: Note, receipt: dict[str, Any]) -> Iterator[str]:
    name = f"{note.marker}: {receipt['id']} ({receipt['state']}, {receipt['outcome']}, {receipt['charged']})"
    charged, usage = nanos(receipt["charged"]), usage_of(receipt["usage"])
    if receipt["state"] not in ("settled", "released"):
        yield f"held: {name} has no end"
    if charged + nanos(receipt["shortfall"]) != (cost(usage) if receipt["state"] == "settled" else 0):
        yield f"wrong: {name} is not its usage times its price: {cost(usage)} nanodollars"
    if charged > nanos(receipt["max"]):
        yield f"wrong: {name} is above its ceiling of {receipt['max']}"
    if note.saw == "error" and charged:
        yield f"wrong: {name} was billed for an error"
    if note.saw == "end":
        if receipt["state"] != "settled" or receipt["outcome"] != "ok":
            yield f"lost: {name} was seen to its end"
        elif usage != note.usage or (note.charged is not None and note.charged != charged):
            yield f"wrong: {name} is not what its caller read: {note.usage}, {note.charged}"


async def wallet(base_url: str, key: str, *, funded: int, books: Books) -> list[str]:
    """What is gone from the wallet is what its charges say, and not a nanodollar is held."""
    async with _client(base_url, key) as client:
        shown = await _get(client, "/v1/wallet")
    spent = sum(charge.charged for charge in books.charges)
    broken = []
    if nanos(shown["balance"]) != funded - spent:
        broken.append(f"wrong: the wallet had {funded}, paid {spent} and has {shown['balance']} credits")
    if shown["held"] != "0" or shown["available"] != shown["balance"]:
        broken.append(f"held: the wallet shows {shown}")
    return broken


def verdict(books: Books, calls: list[UpstreamCall], notes: list[Note], before: list[str]) -> Verdict:
    """All of it together."""
    broken = [*before, *check(books, calls, notes)]
    counts = collections.Counter(_kind(sentence) for sentence in broken)
    settled = sum(charge.state == "settled" for charge in books.charges)
    return Verdict(len(notes), settled, dict(counts), broken)


def _kind(sentence: str) -> str:
    word, _, _ = sentence.partition(":")
    if word in ("lost", "double", "wrong", "held"):
        return word
    return "held" if " still " in sentence else "wrong"


def cost(usage: Usage) -> int:
    return sum(tokens * PRICE[name] for name, tokens in usage.items())


def _client(base_url: str, key: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=base_url, headers={"x-api-key": key}, timeout=30, trust_env=False)


async def _get(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    answer = await _answer(client, path)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


async def _answer(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    """Ask again while the database is not back, as the answer says to."""
    for _ in range(int(BACK_S_MAX / PAUSE_S)):
        answer = await client.get(path)
        if answer.status_code != 503:
            break
        await asyncio.sleep(PAUSE_S)
    return answer
