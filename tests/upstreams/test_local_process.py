"""The model's process is started, watched, started again, and ended; what goes wrong is said in one line.

Method: the real program and the real model; its process is killed, and is given too little of everything.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faregate.upstreams import local_process
from faregate.upstreams.local_process import ModelProcess, Sizes
from faregate.upstreams.local_weights import ModelFailure, find_model
from tests.upstreams.asking import until

SMALL = Sizes(slots=1, slot_tokens=512, batch_threads=1, cache_mib=16, http_threads=4)


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, or sets a limit that others ignore")


class Log:
    """Takes sentences as structlog's loggers do."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = error = info


@pytest.fixture
async def process() -> AsyncIterator[ModelProcess]:
    made = ModelProcess(sizes=SMALL, log=Log())
    yield made
    await made.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def of_process(pid: int, what: str) -> bytes:
    return Path(f"/proc/{pid}/{what}").read_bytes()


def children() -> list[int]:
    """Processes of the model that are ours."""
    mine = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in mine if b"local_server" in of_process(int(pid), "cmdline")]


async def test_it_is_ready_on_loopback_with_a_key_of_its_own_and_stops_within_a_second(process: ModelProcess) -> None:
    await process.start(find_model(None))
    running = process.running
    assert running is not None
    assert running.origin.host == "127.0.0.1" and len(running.key) >= 40
    # Of a session of its own: Ctrl-C in our terminal is not for it.
    assert os.getsid(running.process.pid) == running.process.pid

    began = time.monotonic()
    await process.stop()

    assert time.monotonic() - began < 1.0
    assert process.running is None and not alive(running.process.pid)


@linux
async def test_its_key_and_our_secrets_are_neither_in_its_arguments_nor_in_its_environment(
    process: ModelProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    await process.start(find_model(None))
    running = process.running
    assert running is not None

    shown = of_process(running.process.pid, "cmdline") + of_process(running.process.pid, "environ")

    assert running.key.encode() not in shown and b"sk-ant-secret" not in shown


async def test_a_process_that_is_killed_comes_back_with_another_key(
    process: ModelProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_process, "BACKOFF_S_FIRST", 0.01)
    await process.start(find_model(None))
    first = process.running
    assert first is not None

    os.kill(first.process.pid, signal.SIGKILL)
    await until(lambda: process.running not in (None, first), 60)

    second = process.running
    assert second is not None and second.key != first.key and process.starts == 2


async def test_a_process_that_cannot_come_back_is_tried_again_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_process, "BACKOFF_S_FIRST", 0.01)
    model = tmp_path / "model.gguf"
    model.symlink_to(find_model(None))
    log = Log()
    process = ModelProcess(sizes=SMALL, log=log)
    await process.start(model)
    first = process.running
    assert first is not None

    model.unlink()
    os.kill(first.process.pid, signal.SIGKILL)
    await until(lambda: process.starts >= 4, 60)
    assert process.running is None
    model.symlink_to(find_model(None))
    await until(lambda: process.running is not None, 60)
    await process.stop()

    waits = [fields["wait_s"] for event, fields in log.lines if "wait_s" in fields]
    assert waits == sorted(set(waits)) and len(waits) >= 3
    assert "No such file" in log.lines[1][1]["reason"]


async def test_a_file_that_is_no_model_is_an_error_with_its_last_words(process: ModelProcess, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing more")

    with pytest.raises(ModelFailure, match=r"ended with 1 before it was ready; it said: .*"):
        await process.start(tmp_path / "broken.gguf")
    assert process.running is None


@pytest.mark.parametrize("mib", [200, 600, 900])
@linux
async def test_too_little_memory_is_named_as_such(mib: int) -> None:
    process = ModelProcess(sizes=Sizes(memory_mib_max=mib), log=Log())

    with pytest.raises(ModelFailure, match=f"not enough memory .*{mib} MiB"):
        await process.start(find_model(None))


@linux
async def test_a_start_that_is_given_up_leaves_no_process(process: ModelProcess) -> None:
    start = asyncio.create_task(process.start(find_model(None)))
    await until(lambda: bool(children()))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start

    assert process.running is None
    assert not children()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stopping_twice_or_before_a_start_is_nothing(process: ModelProcess) -> None:
    await process.stop()
    await process.stop()
