"""Listening sockets, bound before anything else is done: a busy port is known before a database is opened.

The rule: what cannot be listened on is one clear sentence (Busy), and the owner's socket is never open to anyone else,
not even between its making and the change of its mode.
"""

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Final

BACKLOG: Final = 2048


class Busy(Exception):
    """An address cannot be listened on. The command ends with exit code 2; nothing was changed."""


def listen(host: str, port: int, *, setting: str) -> socket.socket:
    """Bind and listen. `setting` is the settings' section, which the error names."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise Busy(f"{setting}.host: {host!r} is not an address of this machine") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Busy(_sentence(error, host, port, setting)) from None
    listener.setblocking(False)
    return listener


def listen_for_owner(path: Path) -> socket.socket:
    """Listen on a socket in the file system that only its owner can open.

    Whoever owns the database's lock calls this, so what stands at the path is left from a process that has died.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Busy(f"{path}: cannot be listened on: {error.strerror or error}") from None
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _sentence(error: OSError, host: str, port: int, setting: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            flag = "--port or " if setting == "server" else ""
            return (
                f"{setting}.port: {host}:{port} is in use by another process: stop it, or choose another port with "
                f"{flag}FAREGATE_{setting.upper()}_PORT"
            )
        case errno.EACCES:
            return f"{setting}.port: {port} may not be listened on by this user: choose a port above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{setting}.host: {host!r} is not an address of this machine"
        case _:
            return f"{setting}: {host}:{port} cannot be listened on: {error.strerror}"
