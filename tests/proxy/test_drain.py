"""Drains are bounded, waited for, and cut; an answer that is kept outlives its reader.

Method: drains that wait for a word, and a reply that is fed by hand.
"""

import asyncio

import pytest

from faregate.proxy.drain import Drains, Kept
from faregate.upstreams.port import Fault, FaultKind
from tests.proxy.standing import answer


class Drain:
    """One that ends at its word, and says how it ended."""

    def __init__(self) -> None:
        self.word = asyncio.Event()
        self.end = ""

    async def read(self) -> None:
        try:
            await self.word.wait()
            self.end = "read"
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # What it knows is booked.
            self.end = "cut"


async def test_there_is_room_for_so_many_and_again_when_one_has_ended() -> None:
    drains, first, second = Drains(2), Drain(), Drain()
    drains.begin(first.read())
    assert drains.has_room
    drains.begin(second.read())
    assert not drains.has_room and len(drains) == 2
    first.word.set()
    await asyncio.sleep(0.01)

    assert drains.has_room and first.end == "read"
    await drains.close(0)


async def test_closing_waits_for_those_that_end_in_time() -> None:
    drains, drain = Drains(), Drain()
    drains.begin(drain.read())
    asyncio.get_running_loop().call_later(0.01, drain.word.set)
    await drains.close(20)

    assert drain.end == "read" and len(drains) == 0


@pytest.mark.parametrize("wait_s", [0.01, 0.0, -5.0])
async def test_closing_cuts_the_others_and_lets_them_book(wait_s: float) -> None:
    drains, drain = Drains(), Drain()
    drains.begin(drain.read())
    await drains.close(wait_s)

    assert drain.end == "cut" and len(drains) == 0 and not drains.has_room


async def test_one_that_begins_after_the_cut_still_books_what_it_knows() -> None:
    drains, drain = Drains(), Drain()
    drains.cut()
    drains.begin(drain.read())
    await drains.close(20)

    assert drain.end == "cut"


async def test_leaving_a_kept_answer_ends_the_read_and_loses_nothing() -> None:
    reply, line = answer(200, b"one", whole=False)
    kept = Kept(reply)
    assert (kept.status, await kept.read()) == (200, b"one")
    reading = asyncio.create_task(kept.read())
    await asyncio.sleep(0)
    kept.cancel()
    kept.cancel()
    reply.take_body(b"two")
    with pytest.raises(Fault) as fault:
        await reading
    assert fault.value.kind is FaultKind.CANCELLED
    assert not reading.cancelled() and not line.hung_up

    with pytest.raises(Fault):
        await kept.read()
    reply.end()
    assert (await reply.read(), await reply.read()) == (b"two", b"")


async def test_a_stop_of_the_reader_is_a_stop_and_not_a_leaving() -> None:
    reply, _ = answer(200, whole=False)
    kept = Kept(reply)
    reading = asyncio.create_task(kept.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    reply.end()
    assert await kept.read() == b""


async def test_a_stop_that_comes_with_the_leaving_is_a_stop() -> None:
    reply, _ = answer(200, whole=False)
    kept = Kept(reply)
    reading = asyncio.create_task(kept.read())
    await asyncio.sleep(0)
    kept.cancel()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
