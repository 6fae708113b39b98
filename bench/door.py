"""A door that calls go through, and what the doors' makers share.

One rule: a door that cannot be had is a row that says why, and never a row that is not there.
"""

import contextlib
import http.client
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.loads import PLAIN
from bench.processes import Unready, process, wait_until

READY_S: Final = 120.0
"""LiteLLM takes half a minute on a busy machine."""


class Missing(Exception):
    """A door that cannot be had here, and why."""


class Upstream(NamedTuple):
    """The fake upstream, as a gateway is told of it."""

    url: str
    ca_file: str = ""
    pid: int = 0


class Door(NamedTuple):
    name: str
    url: str
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed
    ca_file: str = ""
    pid: int | None = None
    """The root of the tree that is counted."""
    upstream_pid: int = 0
    """Of upstream itself, where this is the way to it."""
    database_pid: int | None = None
    """The same of a database server beside it."""
    audit: Callable[[], bool] | None = None
    """Whether the books are clean."""
    share: float = 1.0
    """Of the calls that the others get."""
    concurrency_max: int = 1_000_000


@contextlib.contextmanager
def started(
    command: list[str], door: Door, log: Path, *, environ: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Door]:
    """Start a peer and wait until it answers a call. Raises Missing where it does not."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        child = stack.enter_context(process(command, stdout=output, stderr=output, env=environ, cwd=cwd))
        try:
            wait_until(lambda: answers(door), child, seconds_max=READY_S)
        except Unready as error:
            print("\n".join(log.read_text(errors="replace").strip().splitlines()[-5:]), file=sys.stderr)
            raise Missing(str(error)) from None
        yield door._replace(pid=child.pid)


def answers(door: Door) -> bool:
    """Whether a plain call is answered."""
    host, _, port = door.url.partition("://")[2].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", **door.headers}
    try:
        connection.request("POST", "/v1/messages", PLAIN.body, headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
