"""CONTRACT 5.7: which ends of a call free its Idempotency-Key, and which bind it: what was billed is done.

Method: a call is ended in each way that there is, then made again with the same key; the second is made and billed
where the first was free, and refused with the receipt where it was billed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from faregate.proxy import story
from faregate.upstreams.script import End, Play, Script, Seen, error_frame, plain, stream
from faregate.upstreams.scripted_server import ScriptedServer
from tests.contract.handmade import Turn, by_hand
from tests.contract.riders import NO_RETRY, Rider, message, streamed, until
from tests.contract.test_idempotency import COST, FRAMES, GOOD, OPENING
from tests.faults.replica import Replica
from tests.gateway import ASK, ask, running
from tests.postgres import URL
from tests.proxy.standing import Server, standing

STALL = Play(ending=End.STALL, raw=b"")


BREAKS: dict[str, Callable[[Turn], None]] = {
    "event: error": lambda turn: turn.finish(error_frame()),
    "no message_stop": lambda turn: turn.finish(),
    "a broken connection": lambda turn: turn.close(),
}


@pytest.mark.parametrize("broken", BREAKS)
async def test_a_stream_that_ended_in_an_error_frees_it(folder: Path, broken: str) -> None:
    async with by_hand(folder, toml=NO_RETRY) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(), idempotency_key="once")
        turn = await upstream.turn()
        turn.begin(*FRAMES[:4])
        await rider.until(b"content_block_delta")
        BREAKS[broken](turn)
        await rider.until(b"event: error")
        rider.leave()
        again = asyncio.create_task(gate.stream(key, idempotency_key="once"))
        turn = await upstream.turn()
        turn.begin(*FRAMES)
        turn.finish()

        assert (await again).kinds[-1] == "message_stop"
        assert (await gate.stream(key, idempotency_key="once")).status_code == 409
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_hang_up_before_the_first_event_frees_it(folder: Path) -> None:
    async with running(folder, script=[STALL, stream(GOOD)]) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(), idempotency_key="once")
        await until(lambda: gate.upstream.log)
        rider.leave()
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["charged"]) == ("released", "0")
        assert (await gate.stream(key, idempotency_key="once")).kinds[-1] == "message_stop"
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_plain_call_that_was_left_frees_it(folder: Path) -> None:
    async with running(folder, script=[STALL, plain(GOOD)]) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, idempotency_key="once")
        await until(lambda: gate.upstream.log)
        rider.leave()
        await gate.settled(key)

        assert (await gate.message(key, idempotency_key="once")).status_code == 200
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_hang_up_after_the_first_event_was_billed_and_binds_it(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(), idempotency_key="once")
        (await upstream.turn()).begin(FRAMES[0])
        await rider.until(b"message_start")
        rider.leave()
        (receipt,) = await gate.settled(key)
        again = await gate.stream(key, idempotency_key="once")

        assert receipt["outcome"] == "client_gone" and receipt["charged"] != "0"
        assert again.status_code == 409
        assert json.loads(again.body)["error"]["details"]["receipt"] == receipt
        assert upstream.turns == 1


async def test_a_call_that_a_stopping_gateway_cut_off_frees_it(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[STALL, plain(GOOD)]) as gate:
        key = await gate.key()

        def serving() -> "asyncio.Task[None]":
            server.append(Server(ASK, x_api_key=key, idempotency_key="once"))
            return asyncio.create_task(story.serve(gate.running.gate, server[-1].caller))

        server: list[Server] = []
        first = serving()
        await until(lambda: gate.upstream.log)
        first.cancel()
        await asyncio.wait([first])
        await serving()

        assert server[-1].status == 200
        assert [receipt["outcome"] for receipt in await gate.receipts(key)] == ["ok", "shutdown"]
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_process_that_was_killed_frees_it_when_what_it_held_returns(folder: Path) -> None:
    async with served(folder, [STALL, plain(GOOD)]) as (replica, upstream), caller() as http:
        assert await replica.start()
        await replica.command("wallet", "create", "killed", "--credits", "1000")
        key = json.loads(await replica.command("key", "create", "--wallet", "killed", "--json"))["key"]
        headers = {"x-api-key": key, "idempotency-key": "once"}
        first = asyncio.create_task(http.post(f"{replica.url}/v1/messages", json=ASK, headers=headers))
        await until(lambda: upstream.log)
        in_flight = await http.post(f"{replica.url}/v1/messages", json=ASK, headers=headers)
        assert in_flight.json()["error"]["details"]["error_code"] == "idempotency_in_flight"
        await replica.kill()
        with pytest.raises(httpx2.HTTPError):
            await first
        assert await replica.start()
        again = await http.post(f"{replica.url}/v1/messages", json=ASK, headers=headers)
        third = await http.post(f"{replica.url}/v1/messages", json=ASK, headers=headers)
        wallet = (await http.get(f"{replica.url}/v1/wallet", headers=headers)).json()

        assert (again.status_code, third.status_code) == (200, 409)
        assert (wallet["balance"], wallet["held"]) == ("980", "0")


@asynccontextmanager
async def served(folder: Path, script: Script) -> AsyncIterator[tuple[Replica, ScriptedServer]]:
    """A process of its own, not yet started, and the upstream that it will ask."""
    upstream = ScriptedServer(script)
    await upstream.start()
    url = folder / URL
    database = url.read_text() if url.exists() else None
    replica = Replica(folder / "home", upstream=upstream.base_url, database_url=database, node="one")
    try:
        yield replica, upstream
    finally:
        await replica.kill()
        await upstream.stop()


def caller() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=30, trust_env=False)


async def test_of_64_on_two_replicas_one_is_made_and_billed(database: Path) -> None:
    opened = Opened()
    async with AsyncExitStack() as stack:
        gates = []
        for name in ("a", "b"):
            folder = database / name
            folder.mkdir()
            (folder / URL).write_text((database / URL).read_text())
            toml = f'[server]\nnode = "{name}"\n[idempotency]\nkeep_answers_s = 60\n'
            gates.append(await stack.enter_async_context(running(folder, script=opened, toml=toml)))
        key = await gates[0].key()
        calls = [asyncio.create_task(gates[n % 2].message(key, idempotency_key="once")) for n in range(64)]
        # The one that was let in stands at its upstream until all others are refused.
        await until(lambda: sum(call.done() for call in calls) == 63)
        opened.open = True
        for gate in gates:
            gate.upstream.drop()
        answers = await asyncio.gather(*calls)
        later = [await gate.message(key, idempotency_key="once") for gate in gates]

        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 63
        assert {code(answer) for answer in answers if answer.status_code == 409} == {"idempotency_in_flight"}
        (first,) = [answer for answer in answers if answer.status_code == 200]
        assert [(answer.status_code, answer.content) for answer in later] == [(200, first.content)] * 2
        assert opened.callers == 1
        assert await gates[1].books() == (OPENING - COST, 0)


class Opened:
    """A script that keeps who comes waiting until it is opened, then lets the retry envelope bring them back."""

    def __init__(self) -> None:
        self.open = False
        self.callers = 0

    def __call__(self, _: Seen) -> Play:
        if self.open:
            return plain(GOOD)
        self.callers += 1
        return STALL


def code(answer: httpx2.Response) -> str:
    return str(answer.json()["error"]["details"]["error_code"])


Change = Callable[[bytes], bytes]
TIGHT = b'{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"caf\xc3\xa9"}]}'
SAME: dict[str, Change] = {
    "spaces": lambda body: body.replace(b",", b" ,\n ").replace(b":", b": "),
    "escapes": lambda body: body.replace(b"\xc3\xa9", b"\\u00e9").replace(b"model", b"mod\\u0065l", 1),
    "an alias": lambda body: body.replace(b"claude-haiku-4-5", b"my-own-name"),
    "advice that is dropped": lambda body: body.replace(b'"max', b'"thinking":{"type":"adaptive"},"max'),
}
OTHER: dict[str, Change] = {
    "another text": lambda body: body.replace(b"caf", b"Caf"),
    "another order": lambda body: body.replace(b'"max_tokens":9,', b"").replace(b"}]}", b'}],"max_tokens":9}'),
    "a default that is written out": lambda body: body.replace(b'"max', b'"stream":false,"max'),
    "another max_tokens": lambda body: body.replace(b":9,", b":10,"),
}
ROUTE = '[[routes]]\nmodel = "claude-haiku-4-5"\nupstreams = ["fake"]\naliases = ["my-own-name"]\n'


@pytest.mark.parametrize("change", [*SAME, *OTHER])
async def test_the_body_is_what_upstream_is_sent_and_not_how_it_was_written(tmp_path: Path, change: str) -> None:
    async with standing(tmp_path, script=[plain(GOOD)] * 2, toml=ROUTE) as gate:
        key, statuses = await gate.key(), []
        for body in (TIGHT, (SAME | OTHER)[change](TIGHT)):
            server = Server(body, x_api_key=key, idempotency_key="once")
            await story.serve(gate.running.gate, server.caller)
            statuses.append(server.status)

        assert statuses == [200, 409 if change in SAME else 422]
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_call_that_was_clamped_is_the_same_when_it_is_clamped_otherwise(folder: Path) -> None:
    async with running(folder, script=[plain(message(input_tokens=5, output_tokens=3))]) as gate:
        key = await gate.key(credits="2000")
        body = ask(max_tokens=8_000)
        first = await gate.message(key, body, idempotency_key="once")

        assert int(first.headers["x-max-tokens-effective"]) < 8_000
        assert (await gate.message(key, body, idempotency_key="once")).status_code == 409


REFUSED_KEYS = {
    "empty": b"idempotency-key: \r\n",
    "too long": b"idempotency-key: " + b"k" * 256 + b"\r\n",
    "UTF-8": b"idempotency-key: caf\xc3\xa9\r\n",
    "latin-1": b"idempotency-key: caf\xe9\r\n",
    "a tab in it": b"idempotency-key: a\tb\r\n",
    "two": b"idempotency-key: a\r\nidempotency-key: b\r\n",
    "the same twice": b"Idempotency-Key: a\r\nidempotency-key: a\r\n",
}


async def test_a_key_that_is_none_is_refused_before_anything_is_held(folder: Path) -> None:
    async with running(folder, script=[]) as gate:
        key, body = await gate.key(), json.dumps(ASK).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nhost: g\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n"
        for name, lines in REFUSED_KEYS.items():
            rider = await Rider.connect(gate)
            await rider.send(head.encode() + lines + b"\r\n" + body)
            await rider.until(b'"request_id"')
            rider.leave()

            assert rider.status == 400, name
            assert b"idempotency-key: Input should be one header of 1 to 255 printable ASCII" in rider.seen, name
        assert not gate.upstream.log
        assert await gate.receipts(key) == []
