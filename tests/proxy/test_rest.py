"""What is read on of a call that was left, and what is not: nothing was sent, there is no room, the gateway stops.

Method: a wired gateway whose catalog says `runs_to_completion`, callers as the door makes them, and an upstream that
says nothing more.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from faregate.core.errors import Internal
from faregate.core.ledger import Outcome
from faregate.proxy import story
from faregate.proxy.drain import Drains
from faregate.proxy.port import Gateway
from faregate.shipped import load_catalog
from faregate.store.port import Ledger
from faregate.upstreams.port import Answer, Ask, Upstream
from faregate.upstreams.script import End, Play, events, frames_of, plain
from tests.contract.riders import loss, message, until
from tests.gateway import MODEL, ask
from tests.proxy.standing import Server, Standing, Watcher, answer, standing, watched

MESSAGE = message("A text of forty bytes, all of them ASCII", input_tokens=9, output_tokens=20)
FRAMES = frames_of(MESSAGE, 4)
STALL = Play(ending=End.STALL, raw=b"")
HALF = events(FRAMES, ending=End.STALL, ending_after=5)
"""Two of four deltas: twenty bytes, five tokens."""
OPENING = 1_000_000_000


@contextlib.asynccontextmanager
async def running_on(folder: Path, *script: Play, **more: Any) -> AsyncIterator[tuple[Standing, Gateway, Watcher]]:
    mine = folder / "mine.toml"
    mine.write_text(f"[models.{MODEL}]\nruns_to_completion = true\n")
    async with standing(folder, script=script) as gate:
        wired, watcher = watched(gate)
        yield gate, msgspec.structs.replace(wired, catalog=load_catalog([mine]), drains=Drains(), **more), watcher


async def leave(gate: Standing, wired: Gateway, *, frames: int = 0, **fields: Any) -> tuple[Server, str]:
    """A caller who leaves once so many frames have come, or once upstream has the call."""
    key = await gate.key()
    server = Server(ask(**fields), x_api_key=key)
    serving = asyncio.create_task(story.serve(wired, server.caller))
    await until(lambda: gate.upstream.log and server.body.count(b"event: ") >= frames)
    await server.hang_up()
    await serving
    return server, key


@pytest.mark.parametrize("frames", [0, 5], ids=["before the first event", "within the stream"])
async def test_without_room_upstream_is_cancelled_as_if_it_could_be(tmp_path: Path, frames: int) -> None:
    async with running_on(tmp_path, HALF if frames else STALL) as (gate, wired, _):
        full = msgspec.structs.replace(wired, drains=Drains(0))
        await leave(gate, full, frames=frames, stream=True)
        await until(lambda: gate.upstream.log[0].hung_up)

        assert len(full.drains) == 0
        assert (await loss(gate, "abandon_loss") > 0) == (frames == 0)
        assert (await gate.books())[1] == 0


async def test_an_end_that_the_ledger_refuses_is_blamed_on_nobody_else_and_nothing_is_read_on(tmp_path: Path) -> None:
    refuse = "CREATE TRIGGER no BEFORE UPDATE ON charge WHEN NEW.state = 'settled' BEGIN SELECT RAISE(ABORT, 'no'); END"
    async with running_on(tmp_path, HALF) as (gate, wired, watcher):
        with contextlib.closing(sqlite3.connect(tmp_path / "home" / "faregate.db", isolation_level=None)) as other:
            other.execute(refuse)
        _, key = await leave(gate, wired, frames=5, stream=True)
        await until(lambda: gate.upstream.log[0].hung_up)
        (receipt,) = await gate.receipts(key)

        assert len(wired.drains) == 0
        assert (receipt["state"], receipt["outcome"]) == ("released", "gateway_error")
        assert watcher.records[0].outcome is Outcome.GATEWAY_ERROR
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_stop_cuts_the_reading_and_books_the_estimate(tmp_path: Path, is_stream: bool) -> None:  # noqa: FBT001
    async with running_on(tmp_path, STALL) as (gate, wired, watcher):
        await leave(gate, wired, stream=is_stream)
        assert watcher.records[0].outcome is Outcome.CLIENT_GONE
        assert len(wired.drains) == 1 and not gate.upstream.log[0].hung_up
        await wired.drains.close(0)

        await until(lambda: gate.upstream.log[0].hung_up)
        assert await loss(gate, "abandon_loss") > 0
        assert await gate.books() == (OPENING, 0)


async def test_a_rest_that_cannot_be_booked_is_told_to_the_operator(tmp_path: Path) -> None:
    refuse = "CREATE TRIGGER no BEFORE INSERT ON transfer WHEN NEW.kind = 'loss' BEGIN SELECT RAISE(ABORT, 'no'); END"
    async with running_on(tmp_path, STALL) as (gate, wired, watcher):
        await leave(gate, wired, stream=True)
        with contextlib.closing(sqlite3.connect(tmp_path / "home" / "faregate.db", isolation_level=None)) as other:
            other.execute(refuse)
        await wired.drains.close(0)

        assert watcher.troubles == ["what upstream went on to bill could not be booked yet"]
        assert await loss(gate, "abandon_loss") == 0


class Fed:
    """An upstream whose answer is fed by hand."""

    embedded, name = False, "fake"

    def __init__(self, *frames: bytes) -> None:
        self.reply, self.line = answer(200, *frames, whole=False, headers={"content-type": "text/event-stream"})

    async def send(self, ask: Ask) -> Answer:
        assert ask.on_wire is not None
        ask.on_wire()
        return self.reply


async def test_a_stop_within_the_rest_books_what_was_made_by_then(tmp_path: Path) -> None:
    async with running_on(tmp_path) as (gate, wired, _):
        fed: Any = Fed(*FRAMES[:5])
        server = Server(ask(stream=True), x_api_key=await gate.key())
        upstreams: dict[str, Upstream] = {"fake": fed}
        serving = asyncio.create_task(story.serve(msgspec.structs.replace(wired, upstreams=upstreams), server.caller))
        await until(lambda: server.body.count(b"event: ") >= 5)
        await server.hang_up()
        await serving
        assert await gate.books() == (OPENING - 9 * 1_000 - 5 * 5_000, 0), "two of four deltas: twenty bytes"

        fed.reply.take_body(FRAMES[5])
        for _ in range(3):
            await asyncio.sleep(0)  # The reading runs in this loop, and has had its turn.
        await wired.drains.close(0)
        assert await loss(gate, "abandon_loss") == (8 - 5) * 5_000, "three of four deltas: thirty bytes"
        assert fed.line.hung_up
        await gate.books()


class Queueing:
    """An upstream to which there is no connection yet."""

    embedded, name = False, "fake"

    def __init__(self) -> None:
        self.asked: Ask | None = None

    async def send(self, ask: Ask) -> Answer:
        self.asked = ask
        await asyncio.Event().wait()
        raise AssertionError("nobody wakes it")


async def test_what_has_not_been_sent_is_not_sent_for_nobody(tmp_path: Path) -> None:
    async with running_on(tmp_path, plain(MESSAGE)) as (gate, wired, _):
        queueing: Any = Queueing()
        upstreams: dict[str, Upstream] = {"fake": queueing}
        for catalog in (wired.catalog, gate.running.gate.catalog):
            queued = msgspec.structs.replace(wired, upstreams=upstreams, catalog=catalog)
            server = Server(ask(), x_api_key=await gate.key())
            serving = asyncio.create_task(story.serve(queued, server.caller))
            await until(lambda: queueing.asked is not None)
            await server.hang_up()
            await serving
            queueing.asked = None

            assert len(wired.drains) == 0
            assert await loss(gate, "abandon_loss") == 0, "nothing was sent, nothing is lost"
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("refusal", [Internal("The ledger refused this."), asyncio.CancelledError()], ids=repr)
async def test_a_release_that_goes_wrong_keeps_nobody_from_reading_on(tmp_path: Path, refusal: BaseException) -> None:
    async with running_on(tmp_path, STALL) as (gate, wired, watcher):

        class Refusing:
            """The real ledger, but for its first release."""

            async def release(self, command: Any) -> None:
                await wired.ledger.release(command)
                raise refusal

            def __getattr__(self, name: str) -> Any:
                return getattr(wired.ledger, name)

        refusing = msgspec.structs.replace(wired, ledger=cast(Ledger, Refusing()))
        with contextlib.suppress(asyncio.CancelledError):
            await leave(gate, refusing, stream=True)
        assert len(wired.drains) == 1 and not gate.upstream.log[0].hung_up
        assert len(watcher.troubles) == isinstance(refusal, Internal)
        assert (watcher.records[0].status == 499) == isinstance(refusal, Internal), "the first error is the caller's"
        await wired.drains.close(0)

        assert await loss(gate, "abandon_loss") > 0
        assert await gate.books() == (OPENING, 0)
