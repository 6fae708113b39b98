"""The committer's bounds, its notes, and its end."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from faregate.core.errors import NotReady
from faregate.store import committer as committing
from faregate.store import sqlite
from faregate.store.committer import Committer, Nobody
from faregate.store.database import Connection
from faregate.store.sqlite_writer import SqliteWriter
from tests.store.held import desk, write


async def test_a_full_queue_is_not_ready_but_lets_charges_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "QUEUE_MAX", 5)
    async with desk(tmp_path) as at:
        futures: list[asyncio.Future[int]] = []
        held = await at.hold()
        with pytest.raises(NotReady) as refused:
            while True:
                futures.append(at.write("x"))
        assert refused.value.code == "database_unavailable"
        assert len(futures) == 5
        futures.append(at.committer.submit(write, "x", ends=True))
        at.opened.set()
        await asyncio.gather(held, *futures)

        assert len(at.lines()) == len(futures)


async def test_closing_finishes_what_is_queued_and_takes_no_more(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        futures = [at.write(str(number)) for number in range(300)]
        await at.committer.close()
        await asyncio.gather(*futures)

        assert len(at.lines()) == 300
        with pytest.raises(NotReady):
            at.write("too late")
        await at.committer.close()


async def test_closing_writes_the_notes_that_nobody_waits_for(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for number in range(3):
            at.committer.note(str(number), write, str(number))
        await at.committer.close()

        assert sorted(at.lines()) == ["0", "1", "2"]


async def test_a_note_is_written_by_itself(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        at.committer.note("n", write, "note")
        await at.until(["note"])


async def test_a_note_rides_with_a_batch_unless_it_was_forgotten(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        held = await at.hold()
        at.committer.note("kept", write, "kept")
        at.committer.note("gone", write, "gone")
        at.committer.forget("gone")
        at.committer.forget("never there")
        at.opened.set()
        await held
        await at.committer.close()

        assert at.lines() == ["kept"]


async def test_notes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "QUEUE_MAX", 3)
    async with desk(tmp_path) as at:
        held = await at.hold()
        for number in range(10):
            at.committer.note(str(number), write, str(number))
        at.opened.set()
        await held
        await at.committer.close()

        assert len(at.lines()) == 3


async def test_a_note_that_ends_a_charge_is_never_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "QUEUE_MAX", 3)
    async with desk(tmp_path) as at:
        held = await at.hold()
        for number in range(10):
            at.committer.note(str(number), write, str(number), ends=number > 2)
        at.committer.note("one too many", write, "one too many")
        at.opened.set()
        await held
        await at.committer.close()

        assert sorted(at.lines()) == [str(number) for number in range(10)]


@pytest.mark.parametrize("ends", [True, False])
async def test_a_note_that_was_refused_is_tried_again_only_where_it_ends_a_charge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: bool,  # noqa: FBT001 - a parameter
) -> None:
    monkeypatch.setattr(committing, "NOTE_WAIT_S", 0.01)
    monkeypatch.setattr(committing, "REFUSED_S", 0.01)
    async with desk(tmp_path) as at:

        def refused_at_first(connection: Connection, text: str) -> int:
            return write(connection, text if at.batches else "bad")

        at.committer.note("n", refused_at_first, "note", ends=ends)
        if ends:
            await at.until(["note"])
        else:
            async with asyncio.timeout(30):
                while not at.batches:  # noqa: ASYNC110 - a note tells nobody
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert at.committer._notes == {}
            await at.committer.close()
            assert at.lines() == []


async def test_a_note_that_the_database_could_not_take_is_written_when_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "NOTE_WAIT_S", 0.01)
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 0)
    async with desk(tmp_path) as at:
        other = sqlite3.connect(at.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        at.committer.note("n", write, "note")
        async with asyncio.timeout(30):
            while len(at.batches) < 3:  # noqa: ASYNC110 - a note tells nobody
                await asyncio.sleep(0.01)
        other.close()

        await at.until(["note"])


async def test_a_note_that_was_left_meanwhile_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "NOTE_WAIT_S", 0.01)
    async with desk(tmp_path) as at:

        def older(connection: Connection, text: str) -> None:
            at.committer.note("n", write, "newer")
            raise NotReady("not yet")

        at.committer.note("n", older, "older")
        await at.until(["newer"])


async def test_closing_does_not_wait_for_a_note_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 0)
    async with desk(tmp_path) as at:
        other = sqlite3.connect(at.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        at.committer.note("n", write, "note")
        await asyncio.wait_for(at.committer.close(), 30)
        other.close()

        assert at.lines() == []


async def test_each_batch_is_observed_with_its_wait(tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    committer = Committer(
        SqliteWriter(sqlite.writer(tmp_path / "x.db")), lambda size, wait_s: seen.append((size, wait_s))
    )
    await committer.submit(lambda connection, _: None, None)
    await committer.close()

    assert [size for size, _ in seen] == [1]
    assert seen[0][1] >= 0


def test_nobody_writes_where_it_is_open_for_reading_only() -> None:
    for verb in (lambda: Nobody().submit(write, "x"), lambda: Nobody().note("n", write, "x")):
        with pytest.raises(NotReady, match="reading only"):
            verb()
    Nobody().forget("n")
