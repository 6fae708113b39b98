"""What has come is read before what went wrong, a cancel drops all of it, and a stalled reader stalls its line."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
import pytest_asyncio

from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import UNREAD_BYTES_MAX, Reply, Timeouts


class Line:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def hang_up(self) -> None:
        self.calls.append("hang_up")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


class Rig:
    def __init__(self, limits: Timeouts | None = None) -> None:
        self.line = Line()
        self.loop = asyncio.get_running_loop()
        self.reply = Reply(self.loop, self.line, "upstream:1", limits or Timeouts(), 5.0)
        self.started = self.loop.time()


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    yield Rig()


async def kind_of(reply: Reply) -> FaultKind:
    with pytest.raises(Fault) as caught:
        await reply.read()
    return caught.value.kind


async def test_pieces_that_came_before_the_reader_are_joined(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    rig.reply.take_body(b"a")
    rig.reply.take_body(b"b")
    rig.reply.end()
    assert [await rig.reply.read() for _ in range(3)] == [b"ab", b"", b""]


async def test_a_reader_that_waits_is_woken_by_each_of_head_body_and_end(rig: Rig) -> None:
    head = asyncio.create_task(rig.reply.head())
    await asyncio.sleep(0)
    rig.reply.take_head(200, {})
    await head
    for piece in (b"a", b"b"):
        read = asyncio.create_task(rig.reply.read())
        await asyncio.sleep(0)
        rig.reply.take_body(piece)
        assert await read == piece
    read = asyncio.create_task(rig.reply.read())
    await asyncio.sleep(0)
    rig.reply.end()
    assert await read == b""


async def test_what_came_is_read_before_the_fault_and_the_fault_is_for_ever(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    rig.reply.take_body(b"a")
    rig.reply.fail(FaultKind.RESET, "gone")
    rig.reply.fail(FaultKind.TIMEOUT, "a later fault changes nothing")
    assert await rig.reply.read() == b"a"
    assert await kind_of(rig.reply) is FaultKind.RESET
    assert await kind_of(rig.reply) is FaultKind.RESET


async def test_a_cancel_drops_what_came_and_wakes_the_reader(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    read = asyncio.create_task(kind_of(rig.reply))
    await asyncio.sleep(0)
    rig.reply.cancel()
    rig.reply.cancel()
    assert await read is FaultKind.CANCELLED
    assert rig.line.calls == ["hang_up"]

    other = Rig()
    other.reply.take_head(200, {})
    other.reply.take_body(b"unread")
    other.reply.cancel()
    assert await kind_of(other.reply) is FaultKind.CANCELLED


async def test_a_cancel_of_an_answer_that_ended_unread_drops_it_and_leaves_its_line_alone(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    rig.reply.take_body(b"unread")
    rig.reply.end()
    rig.reply.cancel()
    assert await kind_of(rig.reply) is FaultKind.CANCELLED
    assert rig.line.calls == []


async def test_a_cancel_after_the_end_was_read_does_nothing(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    rig.reply.end()
    assert await rig.reply.read() == b""
    rig.reply.cancel()
    assert await rig.reply.read() == b""
    assert rig.line.calls == []


async def test_a_reader_that_is_cancelled_loses_nothing(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    read = asyncio.create_task(rig.reply.read())
    await asyncio.sleep(0)
    read.cancel()
    rig.reply.take_body(b"a")
    with pytest.raises(asyncio.CancelledError):
        await read
    assert await rig.reply.read() == b"a"


async def test_the_line_is_paused_above_the_bound_once_and_resumed_by_a_read(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    rig.reply.take_body(b"x" * UNREAD_BYTES_MAX)
    assert rig.line.calls == []
    rig.reply.take_body(b"x")
    rig.reply.take_body(b"x")
    assert rig.line.calls == ["pause"]
    assert len(await rig.reply.read()) == UNREAD_BYTES_MAX + 2
    assert rig.line.calls == ["pause", "resume"]


async def test_each_deadline_is_named_when_it_has_passed() -> None:
    limits = Timeouts(first_byte=5, idle=10, total=100)
    silent = Rig(limits)
    assert silent.reply.overdue(silent.started + 4) is None
    assert "timeouts.first_byte" in (silent.reply.overdue(silent.started + 6) or "")

    quiet = Rig(limits)
    quiet.reply.take_head(200, {})
    quiet.reply.pieces = 1
    assert quiet.reply.overdue(quiet.started + 6) is None
    assert quiet.reply.overdue(quiet.started + 15) is None
    assert "timeouts.idle" in (quiet.reply.overdue(quiet.started + 17) or "")

    slow = Rig(limits)
    slow.reply.take_head(200, {})
    for second in range(1, 100):
        slow.reply.pieces += 1
        assert slow.reply.overdue(slow.started + second) is None
    assert "timeouts.total" in (slow.reply.overdue(slow.started + 101) or "")


async def test_no_time_counts_while_we_ourselves_have_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(Timeouts(idle=10, total=100))
    rig.reply.take_head(200, {})
    rig.reply.take_body(b"x" * (UNREAD_BYTES_MAX + 1))
    assert rig.reply.overdue(rig.started + 5) is None
    assert rig.reply.overdue(rig.started + 500) is None

    with monkeypatch.context() as later:
        later.setattr(rig.reply, "_loop", SimpleNamespace(time=lambda: rig.started + 500))
        await rig.reply.read()
    for second in range(501, 599):
        rig.reply.pieces += 1
        assert rig.reply.overdue(rig.started + second) is None
    assert "timeouts.total" in (rig.reply.overdue(rig.started + 601) or "")


@pytest.mark.parametrize("field", Timeouts.__struct_fields__)
def test_a_deadline_of_nothing_is_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=rf"timeouts\.{field}"):
        Timeouts(**{field: 0.0})


class Sink:
    """Takes what is poured, until it has had enough."""

    def __init__(self, room: int = 1_000) -> None:
        self.taken: list[bytes] = []
        self._room = room

    def __call__(self, piece: bytes) -> bool:
        self.taken.append(piece)
        return len(self.taken) < self._room


async def test_what_is_poured_comes_piece_by_piece_without_anybody_being_woken(rig: Rig) -> None:
    sink = Sink()
    rig.reply.take_head(200, {})
    rig.reply.take_body(b"a")
    pouring = asyncio.create_task(rig.reply.pour(sink))
    await asyncio.sleep(0)
    rig.reply.take_body(b"b")
    assert sink.taken == [b"a", b"b"], "it was there before the loop turned"
    rig.reply.take_body(b"c")
    rig.reply.end()

    assert await pouring is True
    assert sink.taken == [b"a", b"b", b"c"]


@pytest.mark.parametrize(("early", "room"), [(0, 1), (1, 2), (2, 1), (3, 1)])
async def test_a_sink_that_has_enough_gets_no_more_and_nothing_is_lost(rig: Rig, early: int, room: int) -> None:
    sink = Sink(room)
    rig.reply.take_head(200, {})
    pieces = [b"a", b"b", b"c"]
    for piece in pieces[:early]:
        rig.reply.take_body(piece)
    pouring = asyncio.create_task(rig.reply.pour(sink))
    await asyncio.sleep(0)
    for piece in pieces[early:]:
        rig.reply.take_body(piece)
    assert await pouring is False
    rig.reply.end()
    rest = Sink()

    assert await rig.reply.pour(rest) is True
    assert b"".join(sink.taken + rest.taken) == b"abc"


async def test_a_stalled_sink_stalls_its_line(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    rig.reply.take_body(b"a")
    assert await rig.reply.pour(Sink(room=1)) is False
    assert rig.line.calls == [], "what still comes may be its end, behind which the connection is used again"
    rig.reply.take_body(b"x")
    assert rig.line.calls == ["pause"]
    pouring = asyncio.create_task(rig.reply.pour(Sink()))
    await asyncio.sleep(0)
    assert rig.line.calls == ["pause", "resume"]
    rig.reply.take_body(b"x" * UNREAD_BYTES_MAX)
    rig.reply.end()
    assert await pouring is True
    assert rig.line.calls == ["pause", "resume"]


async def test_pouring_ends_with_a_fault_behind_what_had_come(rig: Rig) -> None:
    sink = Sink()
    rig.reply.take_head(200, {})
    pouring = asyncio.create_task(rig.reply.pour(sink))
    await asyncio.sleep(0)
    rig.reply.take_body(b"a")
    rig.reply.fail(FaultKind.RESET, "gone")
    with pytest.raises(Fault, match="gone"):
        await pouring
    assert sink.taken == [b"a"]


async def test_a_cancel_ends_the_pouring(rig: Rig) -> None:
    rig.reply.take_head(200, {})
    pouring = asyncio.create_task(rig.reply.pour(Sink()))
    await asyncio.sleep(0)
    rig.reply.cancel()
    with pytest.raises(Fault) as caught:
        await pouring
    assert caught.value.kind is FaultKind.CANCELLED


async def test_what_a_sink_raises_is_raised_to_who_pours_and_not_to_the_connection(rig: Rig) -> None:
    def broken(piece: bytes) -> bool:
        raise ZeroDivisionError

    rig.reply.take_head(200, {})
    pouring = asyncio.create_task(rig.reply.pour(broken))
    await asyncio.sleep(0)
    rig.reply.take_body(b"a")
    with pytest.raises(ZeroDivisionError):
        await pouring


async def test_a_sink_is_not_called_once_who_poured_has_left(rig: Rig) -> None:
    sink = Sink()
    rig.reply.take_head(200, {})
    pouring = asyncio.create_task(rig.reply.pour(sink))
    await asyncio.sleep(0)
    pouring.cancel()
    await asyncio.gather(pouring, return_exceptions=True)
    rig.reply.take_body(b"a")

    assert sink.taken == [] and await rig.reply.read() == b"a"
