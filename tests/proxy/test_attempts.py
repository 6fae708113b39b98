"""The retry envelope from within: what counts as a good attempt, what is kept of the others, how it is stopped.

Method: a wired gateway and its scripted upstream, attempts made without a caller, and chance that is no chance.
"""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faregate.core.errors import InvalidRequest, NotReady, UpstreamFailed, UpstreamOverloaded
from faregate.core.ledger import Reserved
from faregate.core.meter import Progress
from faregate.core.money import ZERO
from faregate.core.routing import Retry, Routes
from faregate.proxy import attempts
from faregate.proxy.attempts import Attempts
from faregate.proxy.fare import appraise
from faregate.proxy.hold import Hold
from faregate.proxy.verdict import CallerGone
from faregate.upstreams.script import End, Play, Seen, error_frame, events, failure, frames_of, plain, stream
from faregate.wire.usage import Usage
from tests.contract.riders import message, until
from tests.gateway import Gate, ask
from tests.proxy.standing import Server, standing

GOOD = message(input_tokens=5, output_tokens=3)
FRAMES = frames_of(GOOD)
STALL = Play(ending=End.STALL, raw=b"")


async def attempts_of(gate: Gate, *, is_stream: bool = True, chance: float = 0.0, **retry: Any) -> Attempts:
    wired = msgspec.structs.replace(gate.running.gate, chance=lambda: chance, retry=Retry(**retry))
    key, body = await wired.keys.find(await gate.key()), ask(stream=is_stream)
    model = wired.catalog.find(body["model"])
    assert key is not None and model is not None
    server = Server(body)
    fare = appraise(wired, key, body, model, server.caller)
    reserved = Reserved(held=fare.quote.ceiling, max_tokens=100, available=ZERO, quota_available=None)
    return Attempts(wired, fare, Hold(wired, fare.reservation(wired, server.caller), fare.quote.price, reserved))


async def test_a_stream_is_good_once_its_message_start_has_come(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[events(FRAMES, ending=End.STALL, ending_after=1)]) as gate:
        made = await attempts_of(gate)
        reply = await made.reach()

        assert reply.meter.progress is Progress.RUNNING and b"message_start" in reply.first
        assert [(a.upstream, a.status, a.error) for a in made.made] == [("fake", 200, None)]
        assert made.sent and made.lost == []
        reply.answer.cancel()


async def test_a_plain_answer_is_good_once_it_is_whole(tmp_path: Path) -> None:
    script = [plain(GOOD, ending=End.CUT, cut_at=50), plain(GOOD)]
    async with standing(tmp_path, script=script) as gate:
        made = await attempts_of(gate, is_stream=False)
        reply = await made.reach()

        assert reply.meter.close().usage == Usage(input=5, output=3)
        assert [a.error for a in made.made] == ["reset", None]


async def test_an_answer_to_a_stream_that_is_not_one_is_not_good(tmp_path: Path) -> None:
    mislabelled = msgspec.structs.replace(stream(GOOD), content_type="application/json")
    async with standing(tmp_path, script=[mislabelled, plain(GOOD), stream(GOOD)]) as gate:
        made = await attempts_of(gate, wait_ms=1)
        await made.reach()

        assert [a.error for a in made.made] == ["not_a_stream", "not_a_stream", None]


async def test_a_stream_that_never_begins_is_not_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    monkeypatch.setattr(attempts, "FIRST_BYTES_MAX", 2 * len(ping))
    endless = events([ping] * 3, ending=End.STALL, ending_after=3)
    async with standing(tmp_path, script=[endless, events([ping, ping, *FRAMES])]) as gate:
        made = await attempts_of(gate, wait_ms=1)
        async with asyncio.timeout(20):
            reply = await made.reach()

        assert [a.error for a in made.made] == ["too_large", None] and reply.first.startswith(ping + ping)
        reply.answer.cancel()


async def test_each_failure_is_remembered_with_its_wait(tmp_path: Path) -> None:
    script = [failure(529, "overloaded_error", "no"), failure(500, "api_error", "no", retry_after="0"), stream(GOOD)]
    async with standing(tmp_path, script=script) as gate:
        made = await attempts_of(gate, chance=0.5, wait_ms=4)
        await made.reach()

        assert [(a.status, a.error, a.wait_ms) for a in made.made] == [
            (529, "overloaded", 2),
            (500, "upstream_error", 0),
            (200, None, 0),
        ]


async def test_it_makes_no_more_attempts_than_it_may(tmp_path: Path) -> None:
    async with standing(tmp_path, script=lambda seen: failure(529, "overloaded_error", "no")) as gate:
        made = await attempts_of(gate, attempts_max=5, wait_ms=1)
        with pytest.raises(UpstreamOverloaded) as given_up:
            await made.reach()

        assert len(gate.upstream.log) == len(made.made) == 5
        assert len(given_up.value.details["retry"]["attempts"]) == 5


async def test_it_begins_no_wait_that_would_end_after_its_budget(tmp_path: Path) -> None:
    async with standing(tmp_path, script=lambda seen: failure(529, "overloaded_error", "no", retry_after="2")) as gate:
        made = await attempts_of(gate, budget_ms=1_999)
        with pytest.raises(UpstreamOverloaded) as given_up:
            await made.reach()

        assert len(gate.upstream.log) == 1
        assert given_up.value.details["retry"]["retry_after_ms"] == 2_000
        assert given_up.value.retry_after_s == 2


async def test_a_refusal_is_not_tried_again_and_tells_of_no_envelope(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[failure(400, "invalid_request_error", "odd")]) as gate:
        made = await attempts_of(gate)
        with pytest.raises(InvalidRequest) as refused:
            await made.reach()

        assert "retry" not in refused.value.details
        assert not made.sent and made.kept is None, "it bills for nothing that it refuses"
        assert len(gate.upstream.log) == 1


async def test_what_an_attempt_used_before_it_failed_is_kept_as_lost(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[events([FRAMES[0], error_frame()]), stream(GOOD)]) as gate:
        made = await attempts_of(gate)
        await made.reach()

        assert made.lost == [Usage(input=5, output=1)]


async def test_nothing_was_sent_where_no_connection_was_made(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        await gate.upstream.stop()
        made = await attempts_of(gate, wait_ms=1)
        with pytest.raises(UpstreamFailed, match="could not be reached"):
            await made.reach()

        assert not made.sent
        assert [a.error for a in made.made] == ["connect"] * 3


async def test_a_model_without_an_upstream_is_told_so(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        made = await attempts_of(gate)
        made._gate = msgspec.structs.replace(made._gate, routes=Routes([]))
        with pytest.raises(NotReady, match="No upstream is configured"):
            await made.reach()


async def test_a_caller_who_left_before_is_not_sent_for(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        made = await attempts_of(gate)
        made.cancel()
        with pytest.raises(CallerGone):
            await made.reach()

        assert len(gate.upstream.log) == 0


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_caller_who_leaves_meanwhile_stops_it_and_the_task_goes_on(tmp_path: Path, is_stream: bool) -> None:  # noqa: FBT001
    async with standing(tmp_path, script=[STALL]) as gate:
        made = await attempts_of(gate, is_stream=is_stream)
        after: list[int] = []

        async def call() -> None:
            with pytest.raises(CallerGone):
                await made.reach()
            # What was cancelled was the wait: the task itself goes on, and may still settle its money.
            task = asyncio.current_task()
            after.append(task is not None and task.cancelling())

        calling = asyncio.create_task(call())
        await until(lambda: len(gate.upstream.log) == 1)
        made.cancel()
        await calling
        await until(lambda: gate.upstream.log[0].hung_up)
        assert after == [0]


async def test_a_caller_who_leaves_during_a_wait_ends_it(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[failure(529, "overloaded_error", "no", retry_after="25")]) as gate:
        made = await attempts_of(gate)
        calling = asyncio.create_task(made.reach())
        await until(lambda: len(made.made) == 1)
        made.cancel()
        with pytest.raises(CallerGone):
            await calling

        assert len(gate.upstream.log) == 1


async def test_a_cancellation_that_is_not_the_callers_is_passed_on(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[STALL]) as gate:
        made = await attempts_of(gate)
        calling = asyncio.create_task(made.reach())
        await until(lambda: len(gate.upstream.log) == 1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_a_stop_of_the_gateway_is_not_taken_for_a_caller_who_leaves_at_the_same_time(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[STALL]) as gate:
        made = await attempts_of(gate)
        calling = asyncio.create_task(made.reach())
        await until(lambda: len(gate.upstream.log) == 1)
        made.cancel()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_an_answer_that_is_too_large_is_given_up_and_its_connection_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PLAIN_BYTES_MAX", 1_000)

    def script(seen: Seen) -> Play:
        return Play(frames=(b"x" * 2_000, b"y"), ending=End.STALL, ending_after=1)

    async with standing(tmp_path, script=script) as gate:
        made = await attempts_of(gate, is_stream=False, attempts_max=1)
        with pytest.raises(UpstreamFailed, match="too large"):
            await made.reach()
        await until(lambda: gate.upstream.log[0].hung_up)
