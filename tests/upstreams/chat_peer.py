"""A peer on loopback that speaks Chat Completions as vLLM, SGLang, llama.cpp and OpenAI do, quirks and all.

Method: a plain socket server. It answers with what it was given to play, in pieces as they would come, and it logs what
it was asked and the usage that it told: `chunks` and `whole` write what the real ones write.
"""

import asyncio
import contextlib
import json
from typing import Any

import msgspec

TOOL: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Played(msgspec.Struct, kw_only=True):
    """One answer."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream; charset=utf-8"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    piece: int = 1 << 20
    """Bytes that are written at once."""
    breaks: bool = False
    """The connection ends before the answer does."""
    held: asyncio.Event | None = None
    """What ends the answer, behind its body, is written when this is set."""
    stalls: bool = False
    """Nothing follows, and the connection stays open until the other side closes it."""


class Asked(msgspec.Struct):
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ChatPeer:
    """Plays its answers in turn, and the last one for ever."""

    def __init__(self, *plays: Played) -> None:
        self.plays = list(plays)
        self.log: list[Asked] = []
        self.connections = 0
        self.hung_up = asyncio.Event()

    async def __aenter__(self) -> "ChatPeer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        body = await reader.readexactly(length)
        self.log.append(Asked(request.split(" ")[1], headers, json.loads(body) if body else {}))
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        more = "".join(f"{name}: {value}\r\n" for name, value in play.headers.items())
        head = f"HTTP/1.1 {play.status} Said\r\ncontent-type: {play.content_type}\r\n{more}"
        writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(play.body), play.piece):
            piece = play.body[at : at + play.piece]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if play.held is not None:
            await play.held.wait()
        if play.breaks:
            return False
        if play.stalls:
            await reader.read(1)
            self.hung_up.set()
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def data(**chunk: Any) -> bytes:
    """One frame, as all of them write it."""
    return b"data: " + msgspec.json.encode({"id": "chatcmpl-1", "object": "chat.completion.chunk", **chunk}) + b"\n\n"


def delta(*, finish: str | None = None, choice: dict[str, Any] | None = None, **said: Any) -> bytes:
    return data(choices=[{"index": 0, "delta": said, "logprobs": None, "finish_reason": finish, **(choice or {})}])


def usage(prompt: int = 40, completion: int = 7, cached: int | None = None, **more: Any) -> dict[str, Any]:
    details = None if cached is None else {"cached_tokens": cached, "audio_tokens": 0}
    total = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**total, "prompt_tokens_details": details, **more}


def call(
    index: int | None, arguments: str = "", *, call_id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """A piece of a tool call: id and name come with the first."""
    function: dict[str, Any] = {"arguments": arguments}
    made: dict[str, Any] = {"function": function}
    if index is not None:
        made["index"] = index
    if call_id is not None:
        made |= {"id": call_id, "type": "function"}
    if name is not None:
        function["name"] = name
    return made


DONE = b"data: [DONE]\n\n"


def stream(*deltas: bytes, told: dict[str, Any] | None = None, done: bytes = DONE) -> bytes:
    """A whole stream: OpenAI's role first, and the usage in a chunk of its own behind it."""
    first = delta(role="assistant", content="", refusal=None)
    last = data(choices=[], usage=told) if told is not None else b""
    return b"".join([first, *deltas, last, done])


def whole(*, finish: str = "stop", told: Any = None, choice: dict[str, Any] | None = None, **message: Any) -> bytes:
    """A plain answer."""
    made = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **(choice or {})}
    return msgspec.json.encode({"id": "chatcmpl-1", "object": "chat.completion", "choices": [made], "usage": told})


def plain(body: bytes, status: int = 200, **headers: str) -> Played:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Played(body=body, status=status, content_type="application/json", headers=named)


def refusal(status: int, message: str, *, flat: bool = False, **more: Any) -> Played:
    """An error: OpenAI's envelope, or the flat one of SGLang and older vLLM."""
    error = {"message": message, "type": None, "code": None, **more}
    return plain(msgspec.json.encode({"object": "error", **error} if flat else {"error": error}), status)
