"""What a call was made of goes with it: its body, its document and its quote wait for no collector of cycles.

Method: with the collector off, whatever is in a cycle stays; so after the call nothing of its kind may be there.
"""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from faregate.proxy.attempts import Attempts, Reply
from faregate.proxy.fare import Fare
from faregate.upstreams.port import Ask
from faregate.upstreams.script import End, Play, failure, plain, stream
from tests.contract.riders import NO_RETRY, Rider, message, streamed
from tests.gateway import running

MESSAGE = message("One two three", input_tokens=5, output_tokens=5)
PARTS = (Attempts, Reply, Fare, Ask)
"""What holds a call's body, or refers to what does."""


class Uncollected:
    """The collector is off; what other tests have left in sight is known."""

    def __init__(self) -> None:
        self._before = {id(thing): thing for thing in self._parts()}

    def _parts(self) -> list[object]:
        return [thing for thing in gc.get_objects() if isinstance(thing, PARTS)]

    async def nothing_left(self) -> bool:
        """Whether nothing more is there, once the tasks of the call have ended."""
        for _ in range(100):
            if all(id(thing) in self._before for thing in self._parts()):
                return True
            await asyncio.sleep(0.02)
        return False


@pytest.fixture
def uncollected() -> Iterator[Uncollected]:
    gc.collect()
    gc.disable()
    yield Uncollected()
    gc.enable()


@pytest.mark.parametrize(
    "answer", [plain(MESSAGE), failure(400, "invalid_request_error", "no"), failure(529, "overloaded_error", "busy")]
)
async def test_nothing_of_a_plain_call_is_left_behind(tmp_path: Path, uncollected: Uncollected, answer: Play) -> None:
    async with running(tmp_path, script=[answer], toml=NO_RETRY) as gate:
        await gate.message(await gate.key())

        assert await uncollected.nothing_left()


async def test_nothing_of_a_stream_is_left_behind(tmp_path: Path, uncollected: Uncollected) -> None:
    async with running(tmp_path, script=[stream(MESSAGE)]) as gate:
        await gate.stream(await gate.key())

        assert await uncollected.nothing_left()


async def test_nothing_of_a_call_whose_caller_left_is_left_behind(tmp_path: Path, uncollected: Uncollected) -> None:
    stalled = msgspec.structs.replace(stream(MESSAGE), ending=End.STALL, ending_after=3)
    async with running(tmp_path, script=[stalled]) as gate:
        rider = await Rider.ask(gate, await gate.key(), streamed())
        await rider.until(b"message_start")
        rider.leave()

        assert await uncollected.nothing_left()


async def test_nothing_of_a_call_that_the_wallet_does_not_cover_is_left_behind(
    tmp_path: Path, uncollected: Uncollected
) -> None:
    async with running(tmp_path) as gate:
        refused = await gate.message(await gate.key("poor", "0"))

        assert refused.status_code == 402 and await uncollected.nothing_left()
