"""The judge hears every note: one that says otherwise than the receipt, or than the wallet, is named.

Method: a real gateway and real calls, all of them well; then notes that lie.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults import judge
from tests.faults.checker import Note
from tests.faults.house import CREDITS, House, house


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, None, replicas=1, seed=3) as built:
        await built.replicas[0].start()
        await built.open()
        built.call(8)
        assert built.callers is not None
        await built.callers.finish()
        yield built


async def test_each_lie_is_named(here: House) -> None:
    callers, url = here.callers, here.where()
    assert callers is not None and url is not None
    note = next(note for note in callers.notes if note.saw == "end")
    assert note.usage is not None

    async def said(lie: Note) -> str:
        return " ".join(await judge.receipts(url, here.key, [lie]))

    assert await judge.receipts(url, here.key, callers.notes) == []
    assert "lost:" in await said(note._replace(message_id="msg_00000000000000000000000000"))
    assert "wrong:" in await said(note._replace(saw="error"))
    assert "wrong:" in await said(note._replace(usage={**note.usage, "output": note.usage["output"] + 1}))
    assert "wrong:" in await said(note._replace(charged=1))

    books = here.books()
    assert await judge.wallet(url, here.key, funded=CREDITS * 1_000, books=books) == []
    (gone,) = await judge.wallet(url, here.key, funded=CREDITS * 1_000 + 1, books=books)
    assert gone.startswith("wrong: the wallet had")


async def test_what_is_found_is_counted_under_its_name(here: House) -> None:
    assert here.callers is not None
    notes = [*here.callers.notes, Note("call-0-0", "end", message_id="msg_nobody")]
    verdict = await here.judge(notes, ["double: one", "held: one", "charge x is still reserved"])

    assert verdict.counts == {"double": 1, "held": 2, "lost": 1}
    assert verdict.calls == len(notes)
