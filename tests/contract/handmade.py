"""An upstream that is played by hand: a test writes each piece of an answer when it wants it to come.

The scripted upstream knows its whole answer beforehand; this one is for claims about what happens *between* two pieces.

    async with by_hand(tmp_path) as (gate, upstream):
        turn = await upstream.turn()        one request, read whole
        turn.write(head() + chunk(...))     nothing follows until the test says so
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.contract.riders import PATIENCE_S, until
from tests.gateway import MODEL, UPSTREAM_KEY, Gate, running

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def chunks(*frames: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames)


class Turn:
    """One request, and the answer in the making."""

    def __init__(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.head = head
        self.body = body
        self.left = False
        """Whether the gateway has closed the connection."""
        self._writer = writer

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def begin(self, *frames: bytes) -> None:
        """The head of a stream and its first frames, in one piece."""
        self.write(SSE_HEAD + chunks(*frames))

    def frames(self, *frames: bytes) -> None:
        self.write(chunks(*frames))

    def finish(self, *frames: bytes) -> None:
        self.write(chunks(*frames) + LAST_CHUNK)

    def close(self) -> None:
        self._writer.close()

    async def gone(self) -> None:
        """Wait until the gateway has hung up."""
        await until(lambda: self.left)


class HandUpstream:
    """A server with one turn for each request."""

    def __init__(self) -> None:
        self.base_url = ""
        self.turns = 0
        self._waiting: asyncio.Queue[Turn] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def connections(self) -> int:
        """How many were ever opened to it."""
        return len(self._writers)

    async def turn(self) -> Turn:
        async with asyncio.timeout(PATIENCE_S):
            return await self._waiting.get()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        turn: Turn | None = None
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                turn = Turn(head, await reader.readexactly(size), writer)
                self.turns += 1
                self._waiting.put_nowait(turn)
        if turn is not None:
            turn.left = True
        writer.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def by_hand(
    folder: Path, *, entry: str = "", toml: str = "", environ: dict[str, str] | None = None
) -> AsyncIterator[tuple[Gate, HandUpstream]]:
    """A whole gateway whose one route leads to an upstream played by hand; `entry` is more of its settings."""
    upstream = HandUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    route = (
        f'[[upstreams]]\nname = "hand"\nkind = "anthropic"\nbase_url = "{upstream.base_url}"\n'
        f'api_key_env = "HAND_KEY"\n{entry}'
        f'[[routes]]\nmodel = "{MODEL}"\nupstreams = ["hand"]\naliases = ["my-own-name"]\n'
    )
    try:
        async with running(folder, toml=route + toml, environ={"HAND_KEY": UPSTREAM_KEY, **(environ or {})}) as gate:
            yield gate, upstream
    finally:
        server.close()
        upstream.close()
        await server.wait_closed()
