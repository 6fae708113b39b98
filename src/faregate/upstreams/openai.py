"""Whatever speaks OpenAI's Chat Completions, as an upstream: vLLM, SGLang, llama.cpp, OpenAI itself.

One rule: both translations are pure and elsewhere (chat_request, chat_stream, chat_errors); here they meet the wire.

    Ask ──translate──> POST {base_url}/chat/completions ──Translation──> Answer

It has no count of its own for a request (`count_tokens` is None), and tells what the input was only at the end: until
then `message_start` says what we estimate.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from faregate.core.ids import CHANCE_BITS, ulid
from faregate.upstreams.chat_errors import Trouble, of_answer
from faregate.upstreams.chat_request import prefill, stops, translate
from faregate.upstreams.chat_stream import Asked, State, Translation
from faregate.upstreams.keys import Key
from faregate.upstreams.origin import request_head
from faregate.upstreams.peer import Auth, Peer
from faregate.upstreams.port import Answer, Ask, Fault, FaultKind, Sink, Whole, pour
from faregate.upstreams.transport import Transport

PLAIN_BYTES_MAX: Final = 64 * 1024 * 1024
ERROR_BYTES_MAX: Final = 64 * 1024
REST_BYTES_MAX: Final = 64 * 1024
"""What may follow the end of a stream; a peer that goes on is hung up on."""

OFFICIAL: Final = re.compile(r"(.+\.)?api\.openai\.com|.+\.openai\.azure\.com")
"""Hosts that refuse every parameter they do not know, and take `max_completion_tokens`."""

_STREAM_HEADERS: Final = {"content-type": "text/event-stream; charset=utf-8"}
_PLAIN_HEADERS: Final = {"content-type": "application/json"}
_WAITS: Final = ("retry-after", "retry-after-ms")


class OpenAI:
    """An `Upstream` of the port. It borrows its transport."""

    embedded = False

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_keys: Sequence[str],
        transport: Transport,
        auth: Auth = "bearer",
        models: Mapping[str, str] | None = None,
    ) -> None:
        """`models` is what it calls them, by the catalog's ids. Raises ValueError, with a sentence that holds neither
        key nor URL, on a setting that cannot work.
        """
        self.name = name
        self._peer = Peer(base_url=base_url, api_keys=api_keys, auth=auth, transport=transport)
        self._models = dict(models or {})
        self._official = OFFICIAL.fullmatch(self._peer.origin.host) is not None
        path = f"{api_prefix(self._peer.prefix)}/chat/completions"
        self._heads = {key.place: self._head(path, key) for key in self._peer.keys.all}

    def __repr__(self) -> str:
        return f"OpenAI(name={self.name!r}, host={self._peer.origin.target})"

    async def start(self) -> None:
        """Nothing to do: connections are opened when they are needed."""

    async def stop(self) -> None:
        """Nothing to do: the transport is closed by who made it."""

    async def send(self, ask: Ask) -> Answer:
        model = self._models.get(ask.model, ask.model)
        body = translate(ask.document, model=model, official=self._official, stream=ask.stream)
        timeouts = self._peer.transport.timeouts
        reply = await self._peer.post(
            lambda key: self._heads[key.place],
            msgspec.json.encode(body),
            model=ask.model,
            first_byte_s=timeouts.first_byte if ask.stream else timeouts.first_byte_plain,
            on_wire=ask.on_wire,
        )
        try:
            return await self._accepted(reply, Translation(_asked(ask, prefill(body))), stream=ask.stream)
        except BaseException:
            reply.cancel()
            raise

    async def count_tokens(self, ask: Ask) -> int | None:
        return None

    def redact(self, text: str) -> str:
        return self._peer.redact(text)

    def healthy(self) -> bool:
        """There is nothing of ours that could be down; of the other side the breaker knows."""
        return True

    async def _accepted(self, reply: Answer, translation: Translation, *, stream: bool) -> Answer:
        if reply.status != 200:
            return _refused(of_answer(reply.status, await _whole(reply, ERROR_BYTES_MAX) or b""), reply.headers)
        streamed = reply.headers.get("content-type", "").startswith("text/event-stream")
        if stream and streamed:
            return Streamed(reply, translation)
        body = await _whole(reply, PLAIN_BYTES_MAX)
        if body is None:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: answered more than {PLAIN_BYTES_MAX} bytes")
        found = translation.whole(body)
        if isinstance(found, Trouble):
            return _refused(found, reply.headers)
        if stream:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: answered without a stream")
        return Whole(200, _PLAIN_HEADERS, msgspec.json.encode(found))

    def _head(self, path: str, key: Key) -> bytes:
        headers = [
            *self._peer.key_headers(key),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("user-agent", "faregate"),
        ]
        return request_head(self._peer.origin, path, headers)


class Streamed:
    """An `Answer`: the peer's stream, translated as it is read."""

    status = 200
    headers: Mapping[str, str] = _STREAM_HEADERS

    def __init__(self, reply: Answer, translation: Translation) -> None:
        self._reply = reply
        self._translation = translation

    async def read(self) -> bytes:
        while self._translation.state is not State.COMPLETE:
            data = await self._reply.read()
            out = self._translation.feed(data) if data else self._translation.end()
            if out:
                return out
        return await self._read_out()

    async def pour(self, sink: Sink) -> bool:
        return await pour(self, sink)

    def cancel(self) -> None:
        self._reply.cancel()

    def leave(self) -> None:
        if self._translation.state is State.COMPLETE:
            self._reply.leave()
        else:
            self._reply.cancel()

    async def _read_out(self) -> bytes:
        """Take what stands behind the end, so that the connection can be used again."""
        size = 0
        while data := await self._reply.read():
            size += len(data)
            if size > REST_BYTES_MAX:
                self._reply.cancel()
                break
        return b""


def api_prefix(prefix: str) -> str:
    """The path before `/chat/completions` and `/models`: `/v1` unless the base URL has a path of its own."""
    return prefix or "/v1"


async def _whole(reply: Answer, bytes_max: int) -> bytes | None:
    """All of an answer; None, and it is stopped, where that is more than the bound."""
    pieces, size = [], 0
    while piece := await reply.read():
        pieces.append(piece)
        size += len(piece)
        if size > bytes_max:
            reply.cancel()
            return None
    return b"".join(pieces)


def _refused(trouble: Trouble, headers: Mapping[str, str]) -> Whole:
    waits = {name: headers[name] for name in _WAITS if name in headers}
    return Whole(trouble.status, {**_PLAIN_HEADERS, **waits}, msgspec.json.encode(trouble.envelope()))


def _asked(ask: Ask, begun: str) -> Asked:
    document: dict[str, Any] = ask.document
    thinking = document.get("thinking") or {}
    return Asked(
        model=ask.model,
        message_id=f"msg_{ulid(0, secrets.randbits(CHANCE_BITS))}",
        max_tokens=document["max_tokens"],
        stops=stops(document),
        shows_thinking=thinking.get("type") in ("enabled", "adaptive") and thinking.get("display") != "omitted",
        input_guess=ask.input_guess,
        prefill=begun,
    )
