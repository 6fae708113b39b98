"""SQLite as the committer drives it: answered after COMMIT, failing alone, going on after whatever the disk does.

Method: a real file and real failures of SQLite (a full disk by `max_page_count`, a foreign lock, a deferred key that is
refused at COMMIT). A gate in the first command holds the writer, so that what follows is one batch for certain.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from faregate.core.errors import Internal, NotFound, NotReady
from faregate.store import committer as committing
from faregate.store import sqlite
from faregate.store.database import Connection
from tests.store.held import desk, orphan, refuse, refuse_late, stumble, write


async def test_the_loop_waits_for_no_lock(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        assert await at.committer.submit(lambda c, _: c.execute("PRAGMA busy_timeout").fetchone()[0], None) == 0


async def test_a_lock_is_waited_for_in_the_thread_and_not_on_the_loop_again(tmp_path: Path) -> None:
    waits: list[int] = []

    def look(connection: Connection, text: str) -> None:
        waits.append(connection.execute("PRAGMA busy_timeout").fetchone()[0])
        if text == "stumble":
            raise ZeroDivisionError

    async with desk(tmp_path) as at:
        with pytest.raises(Internal):
            await at.committer.submit(look, "stumble")
        await at.committer.submit(look, "go on")

    assert waits == [0, sqlite.BUSY_WAIT_MS, 0]


async def test_an_answer_comes_after_the_commit(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for number in range(5):
            assert await at.write(str(number)) == 1
            assert at.lines()[-1] == str(number)


async def test_what_waits_together_is_committed_together(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        held = await at.hold()
        futures = [at.write(str(number)) for number in range(committing.BATCH_MAX + 10)]
        assert at.lines() == []
        at.opened.set()
        await asyncio.gather(held, *futures)

        assert at.batches == [1, committing.BATCH_MAX, 10]
        assert len(at.lines()) == committing.BATCH_MAX + 10


async def test_no_batch_is_larger_than_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "BATCH_MAX", 4)
    async with desk(tmp_path) as at:
        held = await at.hold()
        futures = [at.write(str(number)) for number in range(40)]
        at.opened.set()
        await asyncio.gather(held, *futures)

        assert at.batches == [1] + 10 * [4]
        assert at.lines() == [str(number) for number in range(40)]


def misspell(connection: Connection, text: str) -> None:
    write(connection, text)
    connection.execute("INSERT INTO nowhere VALUES (?)", (text,))


@pytest.mark.parametrize("culprit", [stumble, refuse, refuse_late, misspell, orphan, lambda c, text: write(c, "bad")])
async def test_a_command_that_fails_fails_alone(tmp_path: Path, culprit: committing.Apply[str, None]) -> None:
    async with desk(tmp_path) as at:
        held = await at.hold()
        good = [at.write("a"), at.write("b")]
        bad = at.committer.submit(culprit, "culprit")
        also = at.committer.submit(culprit, "culprit too")
        good.append(at.write("c"))
        at.opened.set()
        await held

        assert await asyncio.gather(*good) == [1, 1, 1]
        for future in (bad, also):
            with pytest.raises((NotFound, Internal)):
                await future
        assert at.lines() == ["a", "b", "c"]
        assert await at.write("d") == 1


async def test_a_refusal_is_told_as_it_was_raised(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        with pytest.raises(NotFound, match="nobody"):
            await at.committer.submit(refuse, "nobody")


async def test_what_the_database_refuses_is_a_fault_of_ours_with_its_cause(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for culprit in (stumble, orphan):
            with pytest.raises(Internal) as refused:
                await at.committer.submit(culprit, "x")
            assert refused.value.__cause__ is not None
            assert "line" not in refused.value.message


async def test_a_caller_who_left_breaks_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        held = await at.hold()
        leaving, staying = at.write("left"), at.write("stayed")
        failing = at.committer.submit(refuse, "left too")
        leaving.cancel()
        failing.cancel()
        at.opened.set()
        await held

        assert await staying == 1
        assert at.lines() == ["left", "stayed"]


async def test_a_full_disk_is_told_to_all_and_the_writer_goes_on(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.write("before")

        def bound(connection: Connection, pages: int) -> int:
            (now,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {now + pages}")
            return int(now)

        await at.committer.submit(bound, 1)
        held = await at.hold()
        futures = [at.write(text) for text in ("small", "x" * 100_000, "small")]
        at.opened.set()
        answers = await asyncio.gather(*futures, held, return_exceptions=True)

        assert [type(answer) for answer in answers[:3]] == [NotReady] * 3
        assert len({id(answer) for answer in answers}) == len(answers)
        assert at.lines() == ["before"]
        await at.committer.submit(bound, 1_000)
        assert await at.write("after") == 1
        assert at.lines() == ["before", "after"]


async def test_a_foreign_lock_is_told_to_all_and_the_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 1)
    async with desk(tmp_path) as at:
        shell = sqlite3.connect(at.path, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(NotReady) as refused:
                await at.write("locked out")
            assert refused.value.code == "database_unavailable"
        shell.execute("ROLLBACK")
        shell.close()

        assert await at.write("after") == 1
        assert at.lines() == ["after"]


async def test_a_failure_in_the_midst_keeps_nothing_of_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 1)
    other = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
    other.execute("CREATE TABLE far(text TEXT)")
    other.execute("BEGIN IMMEDIATE")

    def reach(connection: Connection, text: str) -> None:
        if "other" not in {name for _, name, _ in connection.execute("PRAGMA database_list")}:
            connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        connection.execute("INSERT INTO other.far VALUES (?)", (text,))

    async with desk(tmp_path) as at:
        held = await at.hold()
        before, failing, after = at.write("a"), at.committer.submit(reach, "b"), at.write("c")
        at.opened.set()
        answers = await asyncio.gather(before, failing, after, return_exceptions=True)
        await held

        assert [type(answer) for answer in answers] == [NotReady] * 3
        assert at.lines() == []
        shell = sqlite3.connect(at.path, isolation_level=None, timeout=0)
        shell.execute("BEGIN IMMEDIATE")  # Nothing is left open that would lock the file.
        shell.close()
    other.close()


async def test_a_lock_that_has_an_extended_code_of_its_own_is_told_to_all(tmp_path: Path) -> None:
    """SQLITE_BUSY_SNAPSHOT: what the transaction has read of another file was changed before it writes there."""
    codes: list[int] = []

    def overtaken(connection: Connection, text: str) -> None:
        name = f"far{len(codes)}"
        file = tmp_path / f"{name}.db"
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as foreign:
            foreign.execute("PRAGMA journal_mode = WAL")
            foreign.execute("CREATE TABLE line(text TEXT)")
            connection.execute(f"ATTACH ? AS {name}", (str(file),))
            connection.execute(f"SELECT text FROM {name}.line").fetchall()
            foreign.execute("INSERT INTO line VALUES ('theirs')")
            try:
                connection.execute(f"INSERT INTO {name}.line VALUES (?)", (text,))
            except sqlite3.OperationalError as error:
                codes.append(error.sqlite_errorcode)
                raise

    async with desk(tmp_path) as at:
        held = await at.hold()
        before, failing = at.write("a"), at.committer.submit(overtaken, "b")
        at.opened.set()
        answers = await asyncio.gather(before, failing, return_exceptions=True)
        await held

        assert codes == [sqlite3.SQLITE_BUSY_SNAPSHOT] * 2
        assert [type(answer) for answer in answers] == [NotReady] * 2
        assert at.lines() == []


async def test_of_a_batch_that_a_statement_has_undone_nothing_is_kept(tmp_path: Path) -> None:
    def undo(connection: Connection, text: str) -> None:
        connection.execute("INSERT OR ROLLBACK INTO line(text) VALUES (?)", (text,))

    async with desk(tmp_path) as at:
        held = await at.hold()
        before, undoing, after = at.write("a"), at.committer.submit(undo, "bad"), at.write("c")
        at.opened.set()
        answers = await asyncio.gather(before, undoing, after, return_exceptions=True)
        await held

        assert [type(answer) for answer in answers] == [NotReady] * 3
        assert at.lines() == []
        assert await at.write("d") == 1
