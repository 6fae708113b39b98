"""Everybody who waits at the listener is let in at once, and where there is no room they go on waiting.

Method: an acceptor on a real listener; what the system refuses is refused by a listener that says so.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from faregate.edge import accept
from faregate.edge.accept import TAKEN_MAX, Acceptor
from faregate.edge.listen import listen, listen_for_owner


class Guest(asyncio.Protocol):
    """A connection that was let in; it answers what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest_asyncio.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with listen("127.0.0.1", 0, setting="server") as listener:
        yield listener


async def closed(acceptor: Acceptor) -> None:
    acceptor.close()
    await acceptor.wait_closed()


async def asked(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    await loop.sock_sendall(connection, b"hello")
    async with asyncio.timeout(20):
        return await loop.sock_recv(connection, 100)


async def test_all_who_wait_are_let_in_at_one_look(listener: socket.socket) -> None:
    made: list[Guest] = []

    def make() -> Guest:
        made.append(Guest())
        return made[-1]

    waiting = [socket.create_connection(listener.getsockname()) for _ in range(50)]
    acceptor = Acceptor(listener, make)
    acceptor._take()
    await closed(acceptor)

    assert len(made) == len(waiting) < TAKEN_MAX
    assert {await asked(connection) for connection in waiting} == {b"hello"}
    for connection in waiting:
        connection.close()


async def test_who_comes_later_is_let_in_when_the_loop_sees_it(listener: socket.socket) -> None:
    acceptor = Acceptor(listener, Guest)
    for _ in range(3):
        with socket.create_connection(listener.getsockname()) as connection:
            assert await asked(connection) == b"hello"
            assert connection.family is socket.AF_INET
    await closed(acceptor)


async def test_an_owners_socket_is_served_too(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen_for_owner(path) as listener, socket.socket(socket.AF_UNIX) as connection:
        acceptor = Acceptor(listener, Guest)
        connection.connect(str(path))
        assert await asked(connection) == b"hello"
        await closed(acceptor)


async def test_who_is_let_in_is_answered_without_delay(listener: socket.socket) -> None:
    made: list[Guest] = []

    def make() -> Guest:
        made.append(Guest())
        return made[-1]

    acceptor = Acceptor(listener, make)
    with socket.create_connection(listener.getsockname()) as connection:
        await asked(connection)
        served = made[0].transport.get_extra_info("socket")
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await closed(acceptor)


async def test_a_closed_acceptor_lets_nobody_in(listener: socket.socket) -> None:
    made: list[Guest] = []
    acceptor = Acceptor(listener, cast(Callable[[], asyncio.Protocol], lambda: made.append(Guest())))
    await closed(acceptor)
    with socket.create_connection(listener.getsockname()):
        await asyncio.sleep(0.02)
    assert made == []


class Full:
    """A listener on whose system there is no room, so many times; then nobody waits."""

    def __init__(self, listener: socket.socket, number: int, times: int) -> None:
        self._listener = listener
        self._number = number
        self.left = times

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> Any:
        if self.left:
            self.left -= 1
            raise OSError(self._number, "no")
        return self._listener.accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED])
async def test_where_there_is_no_room_it_waits_and_goes_on(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(accept, "PAUSE_S", 0.01)
    full = Full(listener, number, 2)
    acceptor = Acceptor(cast(socket.socket, full), Guest)
    with socket.create_connection(listener.getsockname()) as connection:
        assert await asked(connection) == b"hello"
    assert full.left == 0
    await closed(acceptor)
