"""The offline model under an answer that is given up, a process that dies, and a file of the operator's own.

Method: the real model; what it is at is read from its own list of slots.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
import structlog

from faregate.core.errors import InvalidRequest
from faregate.upstreams.local import Local
from faregate.upstreams.local_process import Sizes
from faregate.upstreams.local_weights import ModelFailure, find_model
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import until, whole
from tests.upstreams.offline import LONG, STORY, asked, idle, plain, running, slots_at_work, writing
from tests.upstreams.telling import events

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local() -> AsyncIterator[Local]:
    async with running() as made:
        yield made


async def test_a_hang_up_ends_the_writing_in_the_model(local: Local) -> None:
    answer = await local.send(asked(output_config=LONG, stream=True, max_tokens=4_000))
    assert (await answer.read()).startswith(b"event: message_start")
    assert await slots_at_work(local) == 1

    answer.cancel()

    await idle(local)
    with pytest.raises(Fault) as fault:
        await whole(answer)
    assert fault.value.kind is FaultKind.CANCELLED
    answer.cancel()


async def test_a_hang_up_ends_the_reading_in_the_model(local: Local) -> None:
    call = asked("reader", say=STORY * 16, stream=True)
    tokens = await local.count_tokens(call)
    assert tokens is not None and tokens > 4_000
    answer = await local.send(call)

    answer.cancel()
    await idle(local)

    # What the same prompt finds in the cache is what had been read.
    again = await local.send(call)
    (start, *_) = events(await again.read())
    again.cancel()
    assert start["message"]["usage"]["cache_read_input_tokens"] < 2_000


async def test_a_plain_call_that_is_given_up_ends_the_work_in_the_model(local: Local) -> None:
    call = asyncio.create_task(local.send(asked(output_config=LONG, max_tokens=4_000)))
    await writing(local)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await idle(local)


async def test_a_model_that_is_killed_is_a_fault_until_it_is_back_and_then_it_answers(local: Local) -> None:
    answer = await local.send(asked(output_config=LONG, stream=True, max_tokens=4_000))
    first = local.process.running
    assert first is not None

    os.kill(first.process.pid, signal.SIGKILL)

    with pytest.raises(Fault) as broken:
        await whole(answer)
    assert broken.value.kind is FaultKind.RESET
    await until(lambda: local.process.running is not first, 60)
    assert not local.healthy()
    with pytest.raises(Fault) as away:
        await local.send(asked())
    assert away.value.kind is FaultKind.CONNECT
    await until(local.healthy, 60)
    assert "Paris" in (await plain(local, asked()))["content"][0]["text"]


async def test_an_operators_own_file_is_run_and_a_bad_one_is_said_at_the_start(tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.symlink_to(find_model(None))
    small = Sizes(slots=1, slot_tokens=256, batch_threads=1, cache_mib=16, http_threads=8)

    async with running(str(own), small) as made:
        message = await plain(made, asked(output_config=LONG, max_tokens=2_000))
        with pytest.raises(InvalidRequest, match=r"prompt is too long: \d+ tokens > 238 maximum"):
            await made.send(asked(say="gate " * 300))
    with pytest.raises(ModelFailure, match=r"model_file: .*none\.gguf"):
        async with running(str(tmp_path / "none.gguf")):
            pass

    assert message["stop_reason"] == "model_context_window_exceeded"
    assert 100 < message["usage"]["output_tokens"] < 256


async def test_who_has_not_its_key_is_refused_by_the_models_server(local: Local) -> None:
    running_now = local.process.running
    assert running_now is not None
    async with httpx2.AsyncClient(timeout=60) as client:
        for path in ("/completion", "/v1/messages", "/apply-template", "/tokenize"):
            url = f"http://{running_now.origin.authority}{path}"
            for headers in ({}, {"x-api-key": "guess"}):
                assert (await client.post(url, json={}, headers=headers)).status_code == 401


async def test_a_start_that_fails_after_the_process_is_up_leaves_none() -> None:
    transport = Transport()
    await transport.aclose()
    made = Local(name="local", transport=transport, model_file=None, log=structlog.get_logger())

    with pytest.raises(Fault):
        await made.start()

    assert made.process.running is None and made.process.starts == 1
