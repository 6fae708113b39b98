"""Routing as it is met: who is down is not asked, an outage is not multiplied, one attempt is billed.

Method: upstreams that fail by script behind a whole gateway, and what each of them has seen.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.edge import desk, forms
from faregate.upstreams.script import Play, Seen, error_frame, failure, frames_of, plain
from tests.contract.handmade import by_hand
from tests.contract.riders import Rider, loss, message, streamed, until
from tests.contract.test_retry import busy, two_upstreams
from tests.gateway import MODEL, Gate, ask, running

GOOD = message(input_tokens=5, output_tokens=3)
COST = 5 * 1_000 + 3 * 5_000
OPENING = 1_000_000 * NANOS_PER_CREDIT
ONCE = "[retry]\nattempts_max = 1\n"
LONG = "[breaker]\nfailures_max = 2\nrest_s = 50\n"
SHORT = "[breaker]\nfailures_max = 2\nrest_s = 0.05\n"


def routed(**fields: Any) -> str:
    lines = [f'[[routes]]\nmodel = "{MODEL}"\nupstreams = ["fake", "second"]\n']
    return "".join([*lines, *(f"{name} = {value}\n" for name, value in fields.items())])


def breaker(gate: Gate, upstream: str = "fake") -> str:
    return gate.running.gate.dispatch.state(upstream, time.monotonic()).value


# The breaker


async def test_when_every_upstream_is_down_it_is_asked_anyway_and_an_answer_ends_the_outage(tmp_path: Path) -> None:
    async with running(tmp_path, script=[busy(500)] * 3, toml=ONCE + LONG) as gate:
        key = await gate.key()
        for _ in range(3):
            answer = await gate.message(key)
            assert (answer.status_code, answer.json()["error"]["details"]["error_code"]) == (502, "upstream_error")
        ready = await gate.get("/readyz")
        assert breaker(gate) == "open" and ready.status_code == 200, "a balancer that looked elsewhere would refuse all"
        assert ready.json()["upstreams"] == {"fake": False}
        assert (await gate.message(key)).status_code == 200

        assert breaker(gate) == "closed" and (await gate.get("/readyz")).status_code == 200
        assert len(gate.upstream.log) == 4


async def test_a_gateway_whose_upstreams_cannot_be_reached_is_not_ready(tmp_path: Path) -> None:
    async with running(tmp_path, toml=ONCE + LONG) as gate:
        key = await gate.key()
        assert (await gate.message(key)).status_code == 200
        await gate.upstream.stop()
        for _ in range(4):
            assert (await gate.message(key)).status_code == 502

        assert breaker(gate) == "open" and (await gate.get("/readyz")).status_code == 503


async def test_a_call_whose_only_upstream_goes_down_meanwhile_goes_on_within_its_envelope(tmp_path: Path) -> None:
    async with running(tmp_path, script=[busy(500)] * 9, toml=LONG) as gate:
        answer = await gate.message(await gate.key())
        told = answer.json()["error"]["details"]["retry"]

        assert answer.status_code == 502
        assert len(gate.upstream.log) == len(told["attempts"]) == 3


async def test_one_call_probes_it_and_its_answer_brings_all_back(tmp_path: Path) -> None:
    async with running(tmp_path, script=[busy(500)] * 2, toml=ONCE + SHORT) as gate:
        key = await gate.key()
        for _ in range(2):
            await gate.message(key)
        await until(lambda: breaker(gate) == "half_open")
        assert (await gate.get("/readyz")).status_code == 200, "the call that finds out must be let in"
        answers = await asyncio.gather(*(gate.message(key) for _ in range(2)))
        assert 200 in [answer.status_code for answer in answers]
        await until(lambda: breaker(gate) == "closed")

        assert (await gate.message(key)).status_code == 200


async def test_a_probe_whose_caller_leaves_lets_the_next_one_try(tmp_path: Path) -> None:
    async with by_hand(tmp_path, toml=ONCE + LONG) as (gate, upstream):
        key = await gate.key()
        for _ in range(2):
            calling = asyncio.create_task(gate.message(key, streamed()))
            (await upstream.turn()).close()
            assert (await calling).status_code == 502
        # An hour later.
        gate.running.gate.dispatch._breaker("hand")._due_s = 0.0
        prober = await Rider.ask(gate, key, streamed())
        probe = await upstream.turn()
        prober.leave()
        await probe.gone()
        await gate.settled(key, 3)
        assert breaker(gate, "hand") == "half_open"
        calling = asyncio.create_task(gate.message(key, streamed()))
        turn = await upstream.turn()
        turn.begin(*frames_of(GOOD))
        turn.finish()
        assert (await calling).status_code == 200


async def test_who_is_down_is_passed_over_without_an_attempt(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path, LONG) as (gate, second):
        gate.upstream.play([busy(500)] * 2)
        key = await gate.key()
        for number in range(4):
            talk = [{"role": "user", "content": f"Another conversation, number {number}"}]
            assert (await gate.message(key, ask(messages=talk))).status_code == 200

        assert (len(gate.upstream.log), len(second.log)) == (2, 4)
        assert [receipt["attempts"] for receipt in await gate.receipts(key)] == [1, 1, 2, 2]
        ready = (await gate.get("/readyz")).json()
        assert ready["upstreams"] == {"fake": False, "second": True}
        assert ready["breakers"] == {"fake": "open", "second": "closed"}
        metrics = (await gate.get("/metrics")).text
        assert 'faregate_upstream_breaker{state="open",upstream="fake"} 1.0' in metrics
        assert 'faregate_retries_total{result="made"} 2.0' in metrics


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429])
async def test_what_is_not_an_outage_opens_no_breaker(tmp_path: Path, status: int) -> None:
    def script(seen: Seen) -> Play:
        return failure(status, "some_error", "no")

    async with running(tmp_path, script=script, toml=ONCE + LONG) as gate:
        key = await gate.key()
        for _ in range(5):
            await gate.message(key)
        assert len(gate.upstream.log) == 5 and breaker(gate) == "closed"


async def test_streams_that_break_off_are_held_against_their_upstream(tmp_path: Path) -> None:
    toml = '[breaker]\nwindow_calls_min = 2\nrest_s = 50\n[[costs]]\nupstream = "hand"\nshare = "0.8"\n'
    async with by_hand(tmp_path, toml=toml) as (gate, upstream):
        key = await gate.key()
        for _ in range(2):
            assert breaker(gate, "hand") == "closed"
            rider = await Rider.ask(gate, key, streamed())
            turn = await upstream.turn()
            turn.begin(frames_of(GOOD)[0])
            await rider.until(b"message_start")
            turn.finish(error_frame("api_error"))
            await rider.whole()
            rider.leave()
        await gate.settled(key, 2)

        assert breaker(gate, "hand") == "open"
        page = await desk.usage(gate.running.desk, desk.Asked(form=forms.UsageAsked()))
        assert [(call.charged, call.cost, call.margin) for call in page.calls] == [("0", "8", "-8")] * 2, "5 in, 1 out"


async def test_a_count_of_tokens_is_not_asked_of_who_is_down(tmp_path: Path) -> None:
    async with running(tmp_path, script=[busy(500)] * 2, toml=ONCE + LONG) as gate:
        key = await gate.key()
        for _ in range(2):
            await gate.message(key)
        answer = await gate.post("/v1/messages/count_tokens", key, ask())
        assert answer.status_code == 200 and answer.json()["input_tokens"] > 0
        assert len(gate.upstream.log) == 2


# Rests, and the budget of all calls


async def test_who_asked_to_be_left_alone_is_not_asked_by_the_next_call_either(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path) as (gate, second):
        gate.upstream.play([busy(429, retry_after="500")])
        key = await gate.key()
        for _ in range(3):
            assert (await gate.message(key)).status_code == 200
        assert (len(gate.upstream.log), len(second.log)) == (1, 3)
        assert breaker(gate) == "closed"


async def test_a_failure_that_mends_itself_is_not_kept_waiting_by_the_rest_of_another(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path) as (gate, second):
        key = await gate.key()
        gate.running.gate.dispatch.bad("second", 0, MODEL, time.monotonic(), alive=True, unreachable=False,
                                       asked_ms=20_000)  # fmt: skip
        gate.upstream.play([failure(500, "api_error", "x"), plain(GOOD)])
        assert (await gate.message(key)).status_code == 200
        assert (len(gate.upstream.log), len(second.log)) == (2, 0)


@pytest.mark.parametrize("rest_s", ["1", "3600"])
async def test_a_call_is_not_kept_waiting_by_what_its_only_upstream_said_to_another(
    tmp_path: Path, rest_s: str
) -> None:
    async with running(tmp_path, script=[busy(429, retry_after=rest_s), plain(GOOD)], toml=ONCE) as gate:
        key = await gate.key()
        assert (await gate.message(key)).status_code == 529
        assert (await gate.message(key)).status_code == 200


async def test_an_outage_is_not_multiplied(tmp_path: Path) -> None:
    toml = "[retry]\nshare_percent = 10\nfloor_per_s = 0\n[breaker]\nfailures_max = 10_000\nshare_percent = 100\n"
    async with running(tmp_path, script=lambda seen: busy(429), toml=toml + "window_calls_min = 10_000\n") as gate:
        key = await gate.key()
        answers = [await gate.message(key) for _ in range(50)]

        assert {answer.status_code for answer in answers} == {529}
        assert len(gate.upstream.log) <= 50 + 10 + 50 // 10
        attempts = [len(answer.json()["error"]["details"]["retry"]["attempts"]) for answer in answers]
        assert attempts[0] == 3 and attempts.count(1) >= 35, "then it is given up at once, and says so as ever"
        assert 'faregate_retries_total{result="refused"} ' in (await gate.get("/metrics")).text


# Weights and conversations


async def test_a_weight_of_nothing_is_a_fallback(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path, routed(weights=[0, 1])) as (gate, second):
        second.play([None, busy(503)])
        key = await gate.key()
        for calls in (0, 1):
            assert (await gate.message(key)).status_code == 200
            assert len(gate.upstream.log) == calls


async def test_a_conversation_stays_with_the_upstream_that_has_it(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path, routed(weights=[1, 1])) as (gate, second):
        key = await gate.key()
        for number in range(4):
            talk = [{"role": "user", "content": f"Conversation {number}"}]
            before = len(gate.upstream.log), len(second.log)
            for _ in range(6):
                assert (await gate.message(key, ask(messages=talk))).status_code == 200
                talk += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Go on."}]
            after = len(gate.upstream.log), len(second.log)
            assert sorted(b - a for a, b in zip(before, after, strict=True)) == [0, 6]
        assert 'faregate_affinity_total{result="kept"} 20.0' in (await gate.get("/metrics")).text


# Money


async def test_two_attempts_that_both_complete_are_billed_once_and_the_other_is_a_loss(tmp_path: Path) -> None:
    deadline, many = "timeouts = { first_byte_s = 0.2 }\n", "[retry]\nattempts_max = 9\n"
    async with by_hand(tmp_path, entry=deadline, toml=many) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        first = await upstream.turn()
        reading = asyncio.create_task(rider.whole())
        while True:
            taking = asyncio.create_task(upstream.turn())
            await asyncio.wait({reading, taking}, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                taking.cancel()
                break
            turn = taking.result()
            turn.begin(*frames_of(GOOD))
            turn.finish()
        await first.gone()
        first.begin(*frames_of(GOOD))  # It finishes what nobody waits for any more.

        assert rider.events[-1]["type"] == "message_stop"
        (receipt,) = await gate.settled(key)
        assert (receipt["charged"], receipt["attempts"]) == (str(COST // NANOS_PER_CREDIT), upstream.turns)
        assert await gate.books() == (OPENING - COST, 0)
        estimated = int(float(dict(rider.headers)["x-credits-input"]) * NANOS_PER_CREDIT)
        assert await loss(gate, "error_loss") == (upstream.turns - 1) * estimated > 0
        rider.leave()
