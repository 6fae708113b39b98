"""CONTRACT 5.7, "or the stored answer where the operator keeps answers": a repeat gets the first answer, byte for byte.

Method: the same call twice on a gateway that keeps answers; both answers are compared whole, and the books, upstream's
log and the table are looked at in between.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faregate import forgetting
from faregate.core.money import NANOS_PER_CREDIT
from faregate.upstreams.script import failure, frames_of, plain, stream
from tests.contract.handmade import by_hand
from tests.contract.riders import NO_RETRY, Rider, message, streamed, until
from tests.gateway import ask, looking, running

KEEPS = "[idempotency]\nkeep_answers_s = 600\n"
GOOD = message(input_tokens=5, output_tokens=3)
FRAMES = frames_of(GOOD)
COST = 5 * 1_000 + 3 * 5_000
OPENING = 1_000_000 * NANOS_PER_CREDIT
OF_ITS_OWN = {"request-id", "date", "x-credits-remaining", "idempotent-replayed"}


def kept(folder: Path) -> int:
    """How many answers are stored."""
    with looking(folder) as ledger:
        return int(ledger.execute("SELECT COUNT(*) FROM answer").fetchone()[0])


def quoted(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in OF_ITS_OWN}


async def test_a_plain_answer_is_given_again_and_costs_nothing(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)], toml=KEEPS) as gate:
        key = await gate.key()
        first = await gate.message(key, idempotency_key="once")
        again = await gate.message(key, idempotency_key="once")

        assert (again.status_code, again.content) == (200, first.content)
        assert quoted(again.headers) == quoted(first.headers)
        assert again.headers["x-credits-charged"] == "20"
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert again.headers["request-id"] != first.headers["request-id"]
        assert len(gate.upstream.log) == 1
        assert len(await gate.receipts(key)) == 1
        assert await gate.books() == (OPENING - COST, 0)


async def test_what_remains_is_told_as_of_now(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2, toml=KEEPS) as gate:
        key = await gate.key(quota="1000", requests_per_minute=100)
        await gate.message(key, idempotency_key="once")
        await gate.message(key, ask(system="another call"))
        again = await gate.message(key, idempotency_key="once")

        assert again.headers["x-credits-remaining"] == str(1_000_000 - 40)
        assert again.headers["x-quota-remaining-credits"] == str(1_000 - 40)
        assert not [name for name in again.headers if name.startswith("anthropic-ratelimit")], "nothing was taken"


async def test_a_stream_is_given_again_as_the_same_stream(folder: Path) -> None:
    async with running(folder, script=[stream(GOOD, gap_ms=1)], toml=KEEPS) as gate:
        key = await gate.key()
        first = await gate.stream(key, idempotency_key="once")
        again = await gate.stream(key, idempotency_key="once")

        assert (again.status_code, again.body) == (200, first.body)
        assert again.kinds[0] == "message_start" and again.kinds[-1] == "message_stop"
        assert quoted(again.headers) == quoted(first.headers)
        assert again.headers["content-type"].startswith("text/event-stream")
        assert again.headers["idempotent-replayed"] == "true"
        assert "x-credits-charged" not in again.headers
        assert len(gate.upstream.log) == 1
        assert await gate.books() == (OPENING - COST, 0)


async def test_who_asks_for_it_the_other_way_has_another_body(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)], toml=KEEPS) as gate:
        key = await gate.key()
        await gate.message(key, idempotency_key="once")

        assert (await gate.stream(key, idempotency_key="once")).status_code == 422


async def test_a_call_that_was_clamped_is_given_again_though_the_wallet_is_empty(folder: Path) -> None:
    async with running(folder, script=[plain(message(input_tokens=5, output_tokens=256))], toml=KEEPS) as gate:
        key = await gate.key(credits="2000")
        body = ask(max_tokens=8_000)
        first = await gate.message(key, body, idempotency_key="once")
        again = await gate.message(key, body, idempotency_key="once")

        assert int(first.headers["x-max-tokens-effective"]) < 8_000
        assert again.headers["x-max-tokens-effective"] == first.headers["x-max-tokens-effective"]
        assert again.content == first.content


async def test_nothing_is_kept_without_the_setting_or_without_a_key(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2) as gate:
        key = await gate.key()
        await gate.message(key, idempotency_key="once")
        assert kept(folder) == 0
    async with running(folder, script=[plain(GOOD)] * 2, toml=KEEPS) as gate:
        await gate.message(key)
        assert kept(folder) == 0
        assert (await gate.message(key, idempotency_key="once")).status_code == 409, "its answer was never kept"


async def test_an_operator_who_stops_keeping_gives_none_again(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)], toml=KEEPS) as gate:
        key = await gate.key()
        await gate.message(key, idempotency_key="once")
        assert kept(folder) == 1
    async with running(folder, script=[]) as gate:
        assert (await gate.message(key, idempotency_key="once")).status_code == 409


async def test_it_is_given_again_by_the_next_life_of_the_gateway(folder: Path) -> None:
    async with running(folder, script=[stream(GOOD)], toml=KEEPS) as gate:
        key = await gate.key()
        first = await gate.stream(key, idempotency_key="once")
    async with running(folder, script=[], toml=KEEPS) as gate:
        assert (await gate.stream(key, idempotency_key="once")).body == first.body
        assert not gate.upstream.log


@pytest.mark.parametrize("way", ["plain", "stream"])
async def test_one_that_is_too_large_is_a_409_with_the_receipt(folder: Path, way: str) -> None:
    large = message("many words " * 200, input_tokens=5, output_tokens=3)
    toml = KEEPS + "answer_bytes_max = 2000\n"
    async with running(folder, script=[plain(large) if way == "plain" else stream(large)], toml=toml) as gate:
        key = await gate.key()
        ride = gate.message if way == "plain" else gate.stream
        first = await ride(key, idempotency_key="once")
        again = await ride(key, idempotency_key="once")

        assert (first.status_code, again.status_code) == (200, 409)
        assert kept(folder) == 0


async def test_one_whose_time_is_over_is_a_409_with_the_receipt_and_its_row_is_deleted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "FORGET_S", 0.02)
    async with running(folder, script=[plain(GOOD)], toml=KEEPS.replace("600", "1")) as gate:
        key = await gate.key()
        await gate.message(key, idempotency_key="once")
        await until(lambda: kept(folder) == 0)
        again = await gate.message(key, idempotency_key="once")

        assert again.status_code == 409
        assert again.json()["error"]["details"]["receipt"]["charged"] == "20"
        assert await gate.books() == (OPENING - COST, 0)


async def test_of_a_failed_call_nothing_is_kept_and_the_next_try_is_made(folder: Path) -> None:
    script = [failure(500, "api_error", "no"), plain(GOOD)]
    async with running(folder, script=script, toml=NO_RETRY + KEEPS) as gate:
        key = await gate.key()
        answers = [await gate.message(key, idempotency_key="once") for _ in range(3)]

        assert [answer.status_code for answer in answers] == [502, 200, 200]
        assert answers[1].content == answers[2].content
        assert await gate.books() == (OPENING - COST, 0)


async def test_of_a_call_that_its_caller_left_nothing_is_kept(folder: Path) -> None:
    async with by_hand(folder, toml=KEEPS) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(), idempotency_key="once")
        turn = await upstream.turn()
        turn.begin(*FRAMES[:4])
        await rider.until(b"content_block_delta")
        rider.leave()
        await gate.settled(key)
        again = await gate.message(key, streamed(), idempotency_key="once")

        assert again.status_code == 409
        assert kept(folder) == 0


async def test_who_lost_the_line_behind_the_last_event_gets_the_answer_by_asking_again(folder: Path) -> None:
    async with by_hand(folder, toml=KEEPS) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(), idempotency_key="once")
        turn = await upstream.turn()
        turn.begin(*FRAMES)
        turn.finish()
        await rider.until(b"message_stop")
        rider.reset()
        again = await gate.stream(key, idempotency_key="once")

        assert again.body == rider.body
        assert upstream.turns == 1
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_key_of_the_same_wallet_may_read_it_and_one_of_another_may_not(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2, toml=KEEPS) as gate:
        first, second, stranger = await gate.key(), await gate.key(), await gate.key("other")
        answer = await gate.message(first, idempotency_key="once")

        assert (await gate.message(second, idempotency_key="once")).content == answer.content
        assert (await gate.message(stranger, idempotency_key="once")).json()["id"] != answer.json()["id"]
        assert await gate.books("other") == (OPENING - COST, 0)


async def test_a_replay_is_counted_and_logged_as_one(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with running(folder, script=[plain(GOOD)], toml=KEEPS, environ={"FAREGATE_LOG_LEVEL": "info"}) as gate:
        key = await gate.key()
        answers = [await gate.message(key, idempotency_key="once") for _ in range(3)]
        metrics = (await gate.get("/metrics")).text

        lines = [line for line in capfd.readouterr().err.splitlines() if '"event":"request"' in line]
        assert 'faregate_requests_total{model="claude-haiku-4-5",outcome="replayed",status="200"} 2.0' in metrics
        assert 'faregate_credits_charged_total{model="claude-haiku-4-5"} 20.0' in metrics
        assert "faregate_holds_open 0.0" in metrics
        assert ['"replayed":true' in line for line in lines] == [False, True, True]
        assert all(answers[0].json()["id"] in line for line in lines)


async def test_of_many_at_once_those_behind_the_first_get_its_answer(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)], toml=KEEPS) as gate:
        key = await gate.key()
        answers = await asyncio.gather(*(gate.message(key, idempotency_key="once") for _ in range(64)))

        assert {answer.status_code for answer in answers} <= {200, 409}
        assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
        assert len([answer for answer in answers if answer.headers.get("idempotent-replayed") is None
                    and answer.status_code == 200]) == 1  # fmt: skip
        assert len(gate.upstream.log) == 1
        assert await gate.books() == (OPENING - COST, 0)
