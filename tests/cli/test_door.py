"""A command comes to the same API whether or not a server runs.

Method: a real server at the owner's socket in a thread, and none; the same commands through both doors.
"""

import socket
from pathlib import Path

import pytest

from faregate.cli.door import Door, server_runs
from faregate.cli.refusals import Failed
from faregate.settings import Settings, load
from faregate.store.database import StoreRefused
from tests.cli.conftest import Run


def test_a_command_goes_to_the_server_that_runs(faregate: Run, served: Settings) -> None:
    made = faregate("wallet", "create", "demo", "--credits", "5", "--json")

    assert (made.code, made.json["balance"]) == (0, "5")
    assert faregate("wallet", "show", "demo", "--json").json == made.json
    assert faregate("key", "create", "--wallet", "demo", "--json").json["key"].startswith("sk-fare-")
    assert faregate("audit").code == 0
    refused = faregate("wallet", "show", "none")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "by the server that runs" in faregate("migrate").out


def test_what_was_written_through_one_door_is_read_through_the_other(faregate: Run, folder: Path) -> None:
    made = faregate("wallet", "create", "demo", "--json").json
    settings = load({"FAREGATE_HOME": str(folder)}, folder=folder.parent)

    with Door(settings, writes=False) as door:
        assert door.get("/wallets/demo") == made


def test_reading_goes_on_beside_a_process_that_owns_the_file_and_writing_is_refused(
    faregate: Run, served: Settings
) -> None:
    faregate("wallet", "create", "demo")
    served.socket.unlink()

    assert [wallet["name"] for wallet in faregate("wallet", "list", "--json").json["wallets"]] == ["demo"]
    refused = faregate("wallet", "create", "other")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert len(faregate("wallet", "list", "--json").json["wallets"]) == 1


def test_reading_makes_nothing_where_there_is_nothing(faregate: Run, folder: Path) -> None:
    refused = faregate("wallet", "list")

    assert refused.code == 2
    assert "There is no database" in refused.err
    assert not folder.exists()


def test_a_reading_door_cannot_write(faregate: Run, folder: Path) -> None:
    faregate("wallet", "create", "demo")
    settings = load({"FAREGATE_HOME": str(folder)}, folder=folder.parent)

    with Door(settings, writes=False) as door, pytest.raises(Failed):
        door.post("/wallets", {"name": "other"})


def test_a_socket_that_nobody_answers_at_is_no_server(folder: Path) -> None:
    settings = load({"FAREGATE_HOME": str(folder)}, folder=folder.parent)
    assert not server_runs(settings)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(settings.socket))

    assert not server_runs(settings)


def test_a_server_that_falls_silent_is_one_line(folder: Path) -> None:
    settings = load({"FAREGATE_HOME": str(folder)}, folder=folder.parent)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(settings.socket))
        listener.listen(1)
        with Door(settings, writes=False) as door:
            listener.close()
            with pytest.raises(Failed, match="stopped answering"):
                door.get("/wallets")


def test_a_database_of_no_kind_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "faregate.db").write_bytes(b"not a database, by any means" * 100)
    settings = load({"FAREGATE_HOME": str(folder)}, folder=folder.parent)

    with pytest.raises(StoreRefused), Door(settings, writes=False):
        pass
