"""A top-up whose COMMIT was lost: what the operator is told, so that asking again moves nothing twice.

Method: the admin API over a PostgreSQL database at the end of a line that is cut.
"""

from pathlib import Path

import pytest

from faregate.core.place import Postgres
from faregate.edge.openapi import ROOT
from faregate.store import postgres_writer
from tests.edge.office import admin
from tests.postgres import URL
from tests.store.line import AFTER, line_to


@pytest.mark.parametrize(("path", "more"), [("topups", {}), ("adjustments", {"note": "typo"})])
async def test_a_movement_whose_end_is_not_known_says_so_and_how_to_ask_again(
    database: Path, monkeypatch: pytest.MonkeyPatch, path: str, more: dict[str, str]
) -> None:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 300_000_000)
    with line_to((database / URL).read_text()) as line:
        async with admin(database, place=Postgres(line.url)) as at:
            await at.post("/wallets", name="demo")
            line.sever()
            line.cut, line.stays_down = AFTER, True
            answer = await at.client.post(f"{ROOT}/wallets/demo/{path}", json={"amount": "5", **more})
            line.up()
            error = answer.json()["error"]
            reference = error["details"]["reference"]

            assert (answer.status_code, error["details"]["error_code"]) == (503, "database_unavailable")
            assert (error["details"]["outcome"], line.cuts) == ("unknown", 1)
            assert "not known" in error["message"] and f"with the reference {reference}" in error["message"]
            assert "Nothing was charged" not in error["message"]
            await at.post(f"/wallets/demo/{path}", amount="5", reference=reference, **more)
            assert (await at.get("/wallets/demo"))["balance"] == "5"


async def test_a_movement_that_was_certainly_not_made_says_that(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "PATIENCE_NS", 0)
    with line_to((database / URL).read_text()) as line:
        async with admin(database, place=Postgres(line.url)) as at:
            await at.post("/wallets", name="demo")
            line.down()
            status, code, message = await at.refused("POST", "/wallets/demo/topups", json={"amount": "5"})

    assert (status, code) == (503, "database_unavailable") and "Nothing was charged" in message
