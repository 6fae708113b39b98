"""CONTRACT 6, the retry envelope: what may mend itself is tried again, in bounds, told in full, and billed once.

Method: upstreams that fail by script, one or two of them, and what the gateway says of it afterwards.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.upstreams.script import End, Play, Seen, error_frame, events, failure, frames_of, plain, stream
from faregate.upstreams.scripted_server import ScriptedServer
from tests.contract.handmade import by_hand
from tests.contract.riders import Rider, loss, message, streamed
from tests.gateway import UPSTREAM_KEY, Gate, ask, running

GOOD = message(input_tokens=5, output_tokens=3)
COST = 5 * 1_000 + 3 * 5_000
OPENING = 1_000_000 * NANOS_PER_CREDIT
FRAMES = frames_of(GOOD)


def busy(status: int = 529, retry_after: str = "0", **more: Any) -> Play:
    return failure(status, "overloaded_error", "a word of upstream's own", retry_after=retry_after, **more)


@contextlib.asynccontextmanager
async def two_upstreams(folder: Path, toml: str = "") -> AsyncIterator[tuple[Gate, ScriptedServer]]:
    """A gateway with a second upstream behind the first."""
    second = ScriptedServer()
    await second.start()
    entry = (
        f'[[upstreams]]\nname = "second"\nkind = "anthropic"\nbase_url = "{second.base_url}"\napi_key_env = "KEY_2"\n'
    )
    try:
        async with running(folder, toml=entry + toml, environ={"KEY_2": UPSTREAM_KEY}) as gate:
            yield gate, second
    finally:
        await second.stop()


RETRIED = [408, 409, 429, 500, 502, 503, 504, 529, 599]


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_what_may_mend_itself_is_tried_again_and_billed_once(tmp_path: Path, is_stream: bool) -> None:  # noqa: FBT001
    good = stream(GOOD) if is_stream else plain(GOOD)
    script = [play for status in RETRIED for play in (busy(status), good)]
    async with running(tmp_path, script=script) as gate:
        key = await gate.key()
        for calls, status in enumerate(RETRIED, start=1):
            answer = await (gate.stream(key) if is_stream else gate.message(key))
            newest = (await gate.receipts(key))[0]

            assert answer.status_code == 200, status
            assert (len(gate.upstream.log), newest["attempts"]) == (2 * calls, 2), status
            assert await gate.books() == (OPENING - calls * COST, 0), status


@pytest.mark.parametrize("ending", [End.REFUSE, End.GARBAGE, End.RESET])
async def test_a_connection_that_fails_before_the_first_byte_is_tried_again(tmp_path: Path, ending: End) -> None:
    script = [events([], ending=ending, ending_after=0), stream(GOOD)]
    async with running(tmp_path, script=script) as gate:
        key = await gate.key()
        answer = await gate.stream(key)

        assert answer.kinds[-1] == "message_stop"
        assert len(gate.upstream.log) == 2
        assert await gate.books() == (OPENING - COST, 0)


async def test_an_error_as_the_first_event_under_200_is_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path, script=[events([error_frame()]), stream(GOOD)]) as gate:
        key = await gate.key()
        answer = await gate.stream(key)

        assert answer.kinds[0] == "message_start" and answer.kinds[-1] == "message_stop"
        assert await gate.books() == (OPENING - COST, 0)


async def test_what_a_failed_attempt_used_is_the_operators_and_not_the_callers(tmp_path: Path) -> None:
    begun = [*frames_of(message(input_tokens=70, output_tokens=1))[:1], error_frame()]
    async with running(tmp_path, script=[events(begun), stream(GOOD)]) as gate:
        key = await gate.key()
        assert (await gate.stream(key)).kinds[-1] == "message_stop"

        assert await gate.books() == (OPENING - COST, 0)
        assert await loss(gate, "error_loss") == 70 * 1_000 + 1 * 5_000


async def test_it_gives_up_after_attempts_max_and_tells_each_attempt(tmp_path: Path) -> None:
    script = [busy(529), busy(500, keep_alive=False), Play(ending=End.REFUSE), plain(GOOD)]
    async with running(tmp_path, script=script) as gate:
        key = await gate.key()
        answer = await gate.message(key)
        error = answer.json()["error"]

        assert answer.status_code == 502
        assert [(a["upstream"], a["status"], a["error"]) for a in error["details"]["retry"]["attempts"]] == [
            ("fake", 529, "overloaded"),
            ("fake", 500, "upstream_error"),
            ("fake", None, "reset"),
        ]
        assert all(isinstance(attempt["wait_ms"], int) for attempt in error["details"]["retry"]["attempts"])
        assert error["details"]["retry"]["retryable"] is True
        assert error["details"]["retry"]["retry_after_ms"] > 0
        assert int(answer.headers["retry-after"]) >= 1
        assert len(gate.upstream.log) == 3
        (receipt,) = await gate.receipts(key)
        assert (receipt["state"], receipt["attempts"], receipt["charged"]) == ("released", 3, "0")
        assert await gate.books() == (OPENING, 0)


TOLD = [
    (429, 529, "overloaded_error", "upstream_overloaded"),
    (529, 529, "overloaded_error", "upstream_overloaded"),
    (408, 504, "timeout_error", "upstream_timeout"),
    (504, 504, "timeout_error", "upstream_timeout"),
    (500, 502, "api_error", "upstream_error"),
    (409, 502, "api_error", "upstream_error"),
]


async def test_upstreams_trouble_is_told_in_our_words(tmp_path: Path) -> None:
    script = [busy(status) for status, *_ in TOLD for _ in range(3)]
    async with running(tmp_path, script=script) as gate:
        key = await gate.key()
        for status, told, kind, code in TOLD:
            answer = await gate.message(key)
            error = answer.json()["error"]

            assert (answer.status_code, error["type"], error["details"]["error_code"]) == (told, kind, code), status
            assert "a word of upstream's own" not in answer.text
        assert await gate.books() == (OPENING, 0)


async def test_upstreams_own_refusal_of_a_request_is_relayed_word_for_word_and_not_tried_again(tmp_path: Path) -> None:
    words = "prompt is too long: 200001 tokens > 200000 maximum"
    refusals = {400: "context_length_exceeded", 404: "model_not_found", 413: "request_too_large",
                422: "unsupported_parameter"}  # fmt: skip
    script = [failure(status, "invalid_request_error", words) for status in refusals]
    async with running(tmp_path, script=script) as gate:
        key = await gate.key()
        for calls, (status, code) in enumerate(refusals.items(), start=1):
            answer = await gate.message(key)
            error = answer.json()["error"]

            assert (answer.status_code, error["message"], error["details"]["error_code"]) == (status, words, code)
            assert answer.headers["x-should-retry"] == "false"
            assert len(gate.upstream.log) == calls


async def test_it_moves_on_to_the_models_next_upstream_and_back(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path) as (gate, second):
        gate.upstream.play([busy(), plain(GOOD)])
        second.play([busy(503)])
        key = await gate.key()
        answer = await gate.message(key)

        assert answer.status_code == 200
        assert (len(gate.upstream.log), len(second.log)) == (2, 1)
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_dead_upstream_is_passed_over(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path) as (gate, second):
        await gate.upstream.stop()
        key = await gate.key()
        second.play([plain(GOOD)])
        answer = await gate.message(key)
        (receipt,) = await gate.receipts(key)

        assert answer.status_code == 200
        assert receipt["attempts"] == 2
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_next_upstream_is_not_kept_waiting_by_the_retry_after_of_the_first(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path) as (gate, second):
        gate.upstream.play([busy(429, retry_after="25")])
        second.play([plain(GOOD)])
        async with asyncio.timeout(20):
            assert (await gate.message(await gate.key())).status_code == 200


async def test_coming_back_to_an_upstream_honours_what_it_asked_for(tmp_path: Path) -> None:
    async with two_upstreams(tmp_path) as (gate, second):
        gate.upstream.play([busy(429, retry_after="1"), plain(GOOD)])
        second.play([busy(503)])
        answer = await gate.message(await gate.key())

        assert answer.status_code == 200
        first, again = gate.upstream.log
        assert again.at - first.at >= 0.99


async def test_upstreams_retry_after_is_honoured(tmp_path: Path) -> None:
    async with running(tmp_path, script=[busy(429, retry_after="1"), plain(GOOD)]) as gate:
        assert (await gate.message(await gate.key())).status_code == 200
        first, again = gate.upstream.log

        assert again.at - first.at >= 0.99


@pytest.mark.parametrize(("asked", "sent", "repeats"), [("45", "45", True), ("3600", "3600", False)])
async def test_a_retry_after_beyond_the_budget_is_passed_on_and_a_long_one_forbids_the_repeat(
    tmp_path: Path,
    asked: str,
    sent: str,
    repeats: bool,  # noqa: FBT001
) -> None:
    async with running(tmp_path, script=[busy(429, retry_after=asked)]) as gate:
        answer = await gate.message(await gate.key())

        assert answer.status_code == 529
        assert len(gate.upstream.log) == 1, "a wait that would end after the budget is not begun"
        assert answer.headers["retry-after"] == sent
        assert (answer.headers.get("x-should-retry") != "false") is repeats
        assert answer.json()["error"]["details"]["retry"]["retry_after_ms"] == int(asked) * 1_000


async def test_nothing_is_tried_again_once_the_first_byte_has_gone_to_the_caller(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        turn.begin(FRAMES[0])
        await rider.until(b"message_start")
        turn.finish(error_frame())
        await rider.whole()

        assert rider.status == 200 and rider.events[-1]["type"] == "error"
        assert rider.events[-1]["error"]["type"] == "overloaded_error"
        assert upstream.turns == 1
        assert await gate.books() == (OPENING, 0)
        rider.leave()


async def test_an_upstream_that_never_begins_is_a_timeout(tmp_path: Path) -> None:
    deadline, retry = "timeouts = { first_byte_s = 0.05 }\n", "[retry]\nattempts_max = 2\n"
    async with by_hand(tmp_path, entry=deadline, toml=retry) as (gate, upstream):
        key = await gate.key()
        answer = await gate.message(key, streamed())

        assert answer.status_code == 504
        assert [a["error"] for a in answer.json()["error"]["details"]["retry"]["attempts"]] == ["timeout", "timeout"]
        assert upstream.turns == 2
        assert await gate.books() == (OPENING, 0)


async def test_an_attempt_sends_the_same_bytes_again(tmp_path: Path) -> None:
    async with running(tmp_path, script=[busy(), busy(), plain(GOOD)]) as gate:
        await gate.message(await gate.key())
        bodies = {seen.body for seen in gate.upstream.log}

        assert len(gate.upstream.log) == 3 and len(bodies) == 1


SECRET = "acct-4711 at https://internal.example.com"


def secretive(status: int) -> Play:
    return failure(status, "authentication_error", f"{UPSTREAM_KEY} of {SECRET} is not allowed")


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_no_key_address_or_refused_access_of_an_upstream_is_told_or_logged(
    tmp_path: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(seen: Seen) -> Play | None:
        return secretive(status)

    environ = {"FAREGATE_LOG_LEVEL": "debug", "FAREGATE_LOG_FORMAT": "json"}
    async with running(tmp_path, script=script, environ=environ) as gate:
        key, address = await gate.key(), gate.upstream.base_url.removeprefix("http://")
        said = ""
        for body in (ask(), ask(stream=True)):
            answer = await gate.message(key, body)
            assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
            said += answer.text + str(answer.headers)
        said += (await gate.post("/v1/messages/count_tokens", key, ask())).text
        refused_frame = events([error_frame("authentication_error", f"{UPSTREAM_KEY} {SECRET}")])
        gate.upstream.play([refused_frame])
        said += (await gate.stream(key)).body.decode()
        await gate.upstream.stop()
        said += (await gate.message(key)).text
        logged = "".join(capsys.readouterr())

        assert json.loads(logged.splitlines()[0])["event"]
        for what in (UPSTREAM_KEY, "acct-4711", "internal.example.com", address):
            assert what not in said, what
            assert what not in logged, what
        assert await gate.books() == (OPENING, 0)
