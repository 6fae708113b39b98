"""CONTRACT 5.7: a call with an Idempotency-Key is billed at most once, and its key is bound to the wallet and the body.

Method: the same call sent again while the first is open, after it was billed, after it failed, and with another body.
"""

import asyncio
from pathlib import Path

from faregate.core.money import NANOS_PER_CREDIT
from faregate.upstreams.script import failure, frames_of, plain
from tests.contract.handmade import by_hand
from tests.contract.riders import NO_RETRY, Rider, message, streamed
from tests.gateway import ask, running

GOOD = message(input_tokens=5, output_tokens=3)
COST = 5 * 1_000 + 3 * 5_000
OPENING = 1_000_000 * NANOS_PER_CREDIT
FRAMES = frames_of(GOOD)


async def test_a_call_that_is_done_answers_409_with_its_receipt_and_is_not_billed_again(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        first = await gate.message(key, idempotency_key="once")
        again = await gate.message(key, idempotency_key="once")
        error = again.json()["error"]

        assert (first.status_code, again.status_code) == (200, 409)
        assert (error["type"], error["details"]["error_code"]) == ("conflict_error", "idempotency_done")
        assert error["details"]["receipt"]["id"] == first.json()["id"]
        assert error["details"]["receipt"]["charged"] == first.headers["x-credits-charged"]
        assert again.headers["x-should-retry"] == "false"
        assert len(gate.upstream.log) == 1
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_call_in_flight_answers_409_with_retry_after(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(), idempotency_key="once")
        turn = await upstream.turn()
        again = await gate.message(key, streamed(), idempotency_key="once")
        error = again.json()["error"]

        assert again.status_code == 409
        assert (error["type"], error["details"]["error_code"]) == ("conflict_error", "idempotency_in_flight")
        assert int(again.headers["retry-after"]) >= 1
        assert "x-should-retry" not in again.headers, "a second later it has an answer"
        turn.begin(*FRAMES)
        turn.finish()
        await rider.whole()
        done = await gate.message(key, streamed(), idempotency_key="once")
        assert done.json()["error"]["details"]["receipt"]["id"] == rider.events[0]["message"]["id"]
        assert upstream.turns == 1
        assert await gate.books() == (OPENING - COST, 0)
        rider.leave()


async def test_of_many_at_once_one_is_made_and_billed(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        answers = await asyncio.gather(*(gate.message(key, idempotency_key="once") for _ in range(64)))

        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 63
        assert len(gate.upstream.log) == 1
        assert await gate.books() == (OPENING - COST, 0)


async def test_the_same_key_with_another_body_is_refused_with_422(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        await gate.message(key, idempotency_key="once")
        for body in (ask(max_tokens=99), ask(stream=True), ask(system="other")):
            other = await gate.message(key, body, idempotency_key="once")
            error = other.json()["error"]

            assert other.status_code == 422
            assert (error["type"], error["details"]["error_code"]) == ("invalid_request_error", "idempotency_mismatch")
            assert other.headers["x-should-retry"] == "false"
        assert await gate.books() == (OPENING - COST, 0)


async def test_spaces_do_not_make_another_body(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        tight = b'{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
        loose = tight.replace(b",", b", ").replace(b":", b": ")
        await gate.message(key, tight, idempotency_key="once")
        again = await gate.message(key, loose, idempotency_key="once")

        assert again.status_code == 409


async def test_a_failed_call_frees_its_key(folder: Path) -> None:
    script = [failure(500, "api_error", "no"), failure(400, "invalid_request_error", "no"), plain(GOOD)]
    async with running(folder, script=script, toml=NO_RETRY) as gate:
        key = await gate.key()
        answers = [await gate.message(key, idempotency_key="once") for _ in range(4)]

        assert [answer.status_code for answer in answers] == [502, 400, 200, 409]
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_call_that_was_refused_before_its_hold_uses_up_no_key(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        refused = await gate.message(key, ask(max_tokens=9_000), idempotency_key="once")

        assert refused.status_code == 400
        assert (await gate.message(key, idempotency_key="once")).status_code == 200
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_hang_up_that_was_billed_keeps_its_key(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(), idempotency_key="once")
        turn = await upstream.turn()
        turn.begin(*FRAMES[:4])
        await rider.until(b"content_block_delta")
        rider.leave()
        (receipt,) = await gate.settled(key)
        again = await gate.message(key, streamed(), idempotency_key="once")

        assert again.status_code == 409
        assert again.json()["error"]["details"]["receipt"]["charged"] == receipt["charged"]
        assert upstream.turns == 1


async def test_two_wallets_may_use_the_same_key(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2) as gate:
        for wallet in ("one", "two"):
            answer = await gate.message(await gate.key(wallet), idempotency_key="once")
            assert answer.status_code == 200
            assert await gate.books(wallet) == (OPENING - COST, 0)


async def test_two_keys_of_one_wallet_share_their_idempotency(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        first, second = await gate.key(), await gate.key()
        await gate.message(first, idempotency_key="once")

        assert (await gate.message(second, idempotency_key="once")).status_code == 409


async def test_a_key_may_have_255_characters_and_not_one_more(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        key = await gate.key()

        assert (await gate.message(key, idempotency_key="k" * 255)).status_code == 200
        refused = await gate.message(key, idempotency_key="k" * 256)
        assert refused.status_code == 400
        assert "255" in refused.json()["error"]["message"]


async def test_without_a_key_the_same_body_is_two_calls(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2) as gate:
        key = await gate.key()
        answers = [await gate.message(key) for _ in range(2)]

        assert len({answer.json()["id"] for answer in answers}) == 2
        assert await gate.books() == (OPENING - 2 * COST, 0)
