"""A race for the last credits: `python -m tests.faults.race --rounds 500 --db postgres --seed 1`.

In each round 2 to 256 clients ask at the same moment, on one to three replicas, for a call of one price each, and what
they share affords so many of them and part of one more. Exactly so many are admitted, and the others are refused under
the right name. What is short is drawn: the wallet, the key's quota, its spend window, its concurrency.

One rule: no clock decides. Either upstream stalls until everybody has been answered, so that all holds stand; or what
it reports is dearer than what was held, so that a call that has ended has cost as much as one that has not.
"""

import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx2

from faregate.upstreams.script import End, events, frames_of, stream
from tests.faults import judge
from tests.faults.callers import Ear, nanos, note_of, request
from tests.faults.checker import Note
from tests.faults.house import House, fresh, house
from tests.faults.options import Tally, carry_out, parser, positive, tell, with_database
from tests.faults.plans import Plan, body_of, message_of
from tests.faults.replica import ADMIN_TOKEN

CLIENTS_MAX = 256
ROUNDS_PER_HOUSE = 100
ANSWER_S_MAX = 90.0
MAX_TOKENS = 100
REFUSALS = {
    "wallet": (402, "insufficient_credits"),
    "quota": (402, "quota_exceeded"),
    "spend_5h": (429, "spend_5h"),
    "concurrency": (429, "concurrency"),
}
"""What is short, and how those are refused who come too late."""


class Round(NamedTuple):
    number: int
    short: str
    clients: int
    replicas: int
    affordable: int
    stalls: bool


async def rounds(count: int, *, db: str, seed: int, tally: Tally, clients_max: int = CLIENTS_MAX) -> None:
    """Race so many times, and check the books of each house."""
    chance, replicas = random.Random(seed), 1 if db == "sqlite" else 3
    for first in range(0, count, ROUNDS_PER_HOUSE):
        with tempfile.TemporaryDirectory(prefix="faregate-race-") as folder:
            async with house(Path(folder), await fresh(db), replicas=replicas, seed=seed) as here:
                await asyncio.gather(*(replica.start() for replica in here.replicas))
                notes, found = list[Note](), list[str]()
                for number in range(first, min(count, first + ROUNDS_PER_HOUSE)):
                    drawn = draw(chance, number, replicas, clients_max)
                    said, seen = await _round(here, drawn, tally)
                    found += said
                    notes += seen
                    tally.done += 1
                tally.add(await here.judge(notes, found))
        tell(tally.line())


def draw(chance: random.Random, number: int, replicas: int, clients_max: int) -> Round:
    """The sizes of a round: half of them small, where one more or less shows at once."""
    clients = chance.randint(2, 12) if chance.random() < 0.5 else chance.randint(2, clients_max)
    short = chance.choice(list(REFUSALS))
    affordable = chance.randint(1 if short == "concurrency" else 0, clients + 1)
    stalls = short == "concurrency" or chance.random() < 0.5
    return Round(number, short, min(clients, clients_max), chance.randint(1, replicas), affordable, stalls)


async def _round(here: House, drawn: Round, tally: Tally) -> tuple[list[str], list[Note]]:
    urls = [replica.url for replica in here.chance.sample(here.replicas, drawn.replicas)]
    plans = [_plan(drawn, client) for client in range(drawn.clients)]
    for plan in plans:
        here.upstream.expect(plan)
    key, price = await _fund(here, drawn, plans[0])
    barriers = asyncio.Barrier(drawn.clients), asyncio.Barrier(drawn.clients)
    ears = [Ear() for _ in plans]
    with contextlib.suppress(TimeoutError):  # who was not answered is not counted as admitted, and is named below
        async with asyncio.timeout(ANSWER_S_MAX):
            await asyncio.gather(
                *(
                    _client(urls[number % len(urls)] or "", key, plan, ear, barriers)
                    for number, (plan, ear) in enumerate(zip(plans, ears, strict=True))
                )
            )
    tally.details[drawn.short] = tally.details.get(drawn.short, 0) + 1
    found = list(_judge(drawn, price, ears))
    found += await judge.rest(urls[0] or "", key)
    return found, [note_of(plan, ear) for plan, ear in zip(plans, ears, strict=True)]


def _judge(drawn: Round, price: int, ears: list[Ear]) -> list[str]:
    """Exactly so many as could be afforded, and the others refused under the right name."""
    found = []
    admitted = [ear for ear in ears if ear.status == 200]
    if len(admitted) != min(drawn.clients, drawn.affordable):
        found.append(f"wrong: {drawn}: {len(admitted)} were admitted")
    for ear in ears:
        if ear.status != 200:
            refused = ear.status, ear.document.get("error", {}).get("details", {}).get("error_code")
            if refused != REFUSALS[drawn.short]:
                found.append(f"wrong: {drawn}: one was refused with {refused}")
        elif nanos(ear.headers["x-credits-max"]) != price:
            found.append(f"wrong: {drawn}: held {ear.headers['x-credits-max']} for a call of {price}")
    return found


def _plan(drawn: Round, client: int) -> Plan:
    marker = f"call-{drawn.number:06d}-{client:06d}"
    usage = {"input": 1, "output": 1, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}
    if not drawn.stalls:
        usage |= {"input": 150_000, "output": MAX_TOKENS}
    message = message_of(marker, usage)
    play = events(frames_of(message), ending=End.STALL, ending_after=2) if drawn.stalls else stream(message)
    return Plan(
        marker=marker,
        body=body_of(marker, True, MAX_TOKENS),
        usage=usage,
        plays=(play,),
        whole=-1 if drawn.stalls else 0,
        leave_after=1 if drawn.stalls else None,
        idempotency_key=None,
    )


async def _fund(here: House, drawn: Round, plan: Plan) -> tuple[str, int]:
    """A wallet and a key of which exactly one thing affords `affordable` calls and a part of one more."""
    async with _admin(here) as admin:
        name = f"round-{drawn.number}"
        await _post(admin, "/wallets", {"name": name})
        asking = (await _post(admin, "/keys", {"wallet": name}))["key"]
        price = await _price(here, str(asking), plan)
        enough = drawn.affordable * price + here.chance.randrange(price)
        plenty = 2 * (drawn.clients + 1) * price
        funds = enough if drawn.short == "wallet" else plenty
        if funds:
            await _post(admin, f"/wallets/{name}/topups", {"amount": _credits(funds)})
        limits: dict[str, object] = {}
        if drawn.short in ("quota", "spend_5h"):
            limits[drawn.short] = _credits(enough)
        if drawn.short == "concurrency":
            limits["concurrency"] = drawn.affordable
        made = await _post(admin, "/keys", {"wallet": name, **limits})
        return str(made["key"]), price


async def _price(here: House, key: str, plan: Plan) -> int:
    """What a call like this holds."""
    url = here.where() or ""
    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        answer = await client.post("/v1/messages/quote", content=plan.body, headers={"x-api-key": key})
        answer.raise_for_status()
        return nanos(answer.json()["credits_max"])


async def _client(
    base_url: str, key: str, plan: Plan, ear: Ear, barriers: tuple[asyncio.Barrier, asyncio.Barrier]
) -> None:
    """Connect, wait for all others, ask; hear what there is, and leave when everybody has been answered."""
    host, port = base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        await barriers[0].wait()
        writer.write(request(plan, host, key, "x-credits-on-shortfall: refuse\r\n"))
        while not ear.whole and not (ear.events and plan.leave_after):
            data = await reader.read(65_536)
            if not data:
                break
            ear.parser.feed_data(data)
        await barriers[1].wait()
    finally:
        writer.transport.abort()


def _admin(here: House) -> httpx2.AsyncClient:
    token = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    return httpx2.AsyncClient(base_url=here.replicas[0].admin_url(), headers=token, timeout=30, trust_env=False)


async def _post(admin: httpx2.AsyncClient, path: str, form: dict[str, object]) -> dict[str, object]:
    answer = await admin.post(f"/admin/v1{path}", content=json.dumps(form).encode())
    answer.raise_for_status()
    made: dict[str, object] = answer.json()
    return made


def _credits(amount: int) -> str:
    return f"{amount // 1_000}.{amount % 1_000:03d}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = with_database(parser("race", "Race for the last credits, and prove that exactly those were spent."))
    options.add_argument("--rounds", type=positive, default=500, help="how many (default: 500)")
    asked = options.parse_args(arguments)
    tally = Tally("race", asked.seed)
    return carry_out(rounds(asked.rounds, db=asked.db, seed=asked.seed, tally=tally), tally)


if __name__ == "__main__":
    sys.exit(main())
