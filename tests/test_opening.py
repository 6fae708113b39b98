"""What an operator reads when the database goes, comes back, or has given back what was still to be settled.

Method: the watch that a gateway has, on the log it has.
"""

import socket
from pathlib import Path

import structlog
from structlog.testing import capture_logs

from faregate.core.money import Nanos
from faregate.opening import SpoolWatch, opened_store
from faregate.settings import load
from faregate.telemetry import Telemetry
from tests.store.books import PRICE, fund, reserve, settle


def test_the_log_says_once_that_the_database_is_away_and_once_that_it_is_back() -> None:
    structlog.reset_defaults()
    telemetry = Telemetry()
    with capture_logs() as lines:
        watch = SpoolWatch(telemetry)
        for waiting in (1, 2, 3, 2, 0, 1):
            watch.spooled(waiting)

    said = [(line["log_level"], line["event"].partition(":")[0]) for line in lines]
    away = ("error", "the database is away")
    assert said == [away, ("warning", "the database is back, and the spool is carried out"), away]
    assert b"\nfaregate_spooled 1.0\n" in telemetry.render()


def test_a_charge_that_came_too_late_is_named_with_what_it_would_have_cost() -> None:
    structlog.reset_defaults()
    with capture_logs() as lines:
        SpoolWatch(Telemetry()).too_late(settle(7, charged=Nanos(150_000), shortfall=Nanos(1_000)))

    (line,) = lines
    assert (line["log_level"], line["charge_id"], line["cost"]) == ("error", settle(7).charge_id, "151")
    assert "the operator pays" in line["event"]


async def test_a_start_says_what_the_last_life_left_open(tmp_path: Path) -> None:
    structlog.reset_defaults()
    settings = load({"FAREGATE_HOME": str(tmp_path)}, folder=tmp_path)
    async with opened_store(settings, [PRICE], port=1, telemetry=Telemetry()) as store:
        await fund(store, 1_000_000)
        await store.ledger.reserve(reserve(1))
    with capture_logs() as lines:
        async with opened_store(settings, [PRICE], port=1, telemetry=Telemetry()) as store:
            assert store.swept.charges == 1

    (line,) = lines
    assert (line["log_level"], line["calls"], line["crash_loss"]) == ("warning", 1, "200")
    (tmp_path / "spool-old_8080").write_bytes(b"")
    with capture_logs() as lines:
        async with opened_store(settings, [PRICE], port=1, telemetry=Telemetry()):
            pass
    assert [line["spool"] for line in lines if "spool" in line] == [str(tmp_path / "spool-old_8080")]
    assert socket.gethostname() not in str(lines), "one process owns a file: its name is nobody's business"
