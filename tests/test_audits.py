"""The running gateway proves its books by itself, and says so when they are wrong.

Method: right books, then a lie put into the file with the guards taken out by force; the audit is asked until it tells.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faregate import audits
from faregate.store.store import Store
from tests.store.books import WALLET, fund, opening
from tests.store.test_audit import lie


class Log:
    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def error(self, what: str, **more: Any) -> None:
        self.told.append({"what": what, **more})


async def audit(store: Store, count: int) -> tuple[list[int], Log]:
    """The first so many audits."""
    figures: list[int] = []
    log, enough = Log(), asyncio.Event()

    def audited(broken: int) -> None:
        figures.append(broken)
        if len(figures) == count:
            enough.set()

    running = asyncio.create_task(audits.audit_hourly(store.office, audited=audited, log=log))
    await asyncio.wait_for(enough.wait(), 20)
    running.cancel()
    await asyncio.wait([running])
    return figures, log


async def test_clean_books_are_audited_again_and_again_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "AUDIT_S", 0)
    async with opening(tmp_path) as store:
        await fund(store, 1_000)
        figures, log = await audit(store, 3)

    assert figures == [0, 0, 0]
    assert log.told == []


async def test_books_that_are_wrong_are_told_with_their_rule(tmp_path: Path) -> None:
    async with opening(tmp_path) as store:
        await fund(store, 1_000)
    lie(tmp_path, f"UPDATE account SET held = held + 1 WHERE id = '{WALLET}'")
    async with opening(tmp_path) as store:
        figures, log = await audit(store, 1)

    assert figures == [1]
    assert [entry["rule"] for entry in log.told] == ["held"]
