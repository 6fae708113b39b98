"""Takes connections from a listener: all that wait, whenever the loop looks.

libuv takes one in each turn of its loop. Where thousands of streams are served a turn is milliseconds long, and of two
thousand callers who come together the last would wait for seconds before anything of theirs is read.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

TAKEN_MAX: Final = 256
"""In one turn: those who are served already want theirs, too."""

PAUSE_S: Final = 0.5
"""After the system has said that there is no room for another connection. Those who wait keep waiting."""

_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Takes connections until it is closed. For uvicorn it stands where an asyncio server would."""

    def __init__(self, listener: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        self._listener = listener
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listener, self._take)

    def close(self) -> None:
        """Take no more. The listener is closed by its owner."""
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Wait for those that were taken to have their protocol."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _take(self) -> None:
        for _ in range(TAKEN_MAX):
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._loop.remove_reader(self._listener)
                    self._pause = self._loop.call_later(PAUSE_S, self._go_on)
                return  # Nobody waits, or who waited has left.
            connection.setblocking(False)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task: asyncio.Task[object] = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._take)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:  # It was closed on us meanwhile.
            connection.close()
