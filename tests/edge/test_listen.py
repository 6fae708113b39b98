"""What cannot be listened on is one clear sentence, and the owner's socket is the owner's alone.

Method: real sockets on loopback and in a folder of the test's own.
"""

import os
import socket
import stat
from pathlib import Path

import pytest

from faregate.edge.listen import Busy, listen, listen_for_owner


def test_a_port_of_the_systems_choice_is_listened_on() -> None:
    with listen("127.0.0.1", 0, setting="server") as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_busy_port_names_itself_and_the_way_out() -> None:
    with listen("127.0.0.1", 0, setting="server") as first:
        port = first.getsockname()[1]
        with pytest.raises(
            Busy, match=rf"^server\.port: 127\.0\.0\.1:{port} is in use .* with --port or FAREGATE_SERVER_PORT$"
        ):
            listen("127.0.0.1", port, setting="server")
        with pytest.raises(Busy, match=r"^admin\.port: .* with FAREGATE_ADMIN_PORT$"):
            listen("127.0.0.1", port, setting="admin")


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.host.invalid", "\x00", "x" * 300])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(Busy, match=r"^admin\.host: "):
        listen(host, 0, setting="admin")


def test_the_owners_socket_is_open_to_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    mask = os.umask(0)
    try:
        with listen_for_owner(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.umask(0) == 0
    finally:
        os.umask(mask)


def test_a_socket_left_by_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    listen_for_owner(path).close()
    assert path.exists()

    with listen_for_owner(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_a_socket_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Busy, match=r"cannot be listened on: No such file"):
        listen_for_owner(tmp_path / "none" / "admin.sock")
