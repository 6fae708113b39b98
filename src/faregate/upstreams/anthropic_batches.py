"""Anthropic's own batches: handed over whole, asked after, and their results read line by line as they come.

The rule: results are asked for where the batch was made. What upstream says of another address (`results_url`) is not
read, so our key goes nowhere else.

    create -> id        has_ended(id)        results(id) -> lines        cancel(id)
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from faregate.core.routing import about_our_account, asked_wait_ms
from faregate.upstreams.keys import Key
from faregate.upstreams.origin import request_head
from faregate.upstreams.peer import Peer
from faregate.upstreams.port import Answer, Ask, BatchRefused, Fault, FaultKind

ANSWER_BYTES_MAX: Final = 256 * 1024
"""A batch's description is some hundred bytes."""
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""As much as a plain answer may have."""
MESSAGE_CHARS_MAX: Final = 500
QUEUE: Final = "batches"
"""What a key is refused for, in a model's place: a full queue of batches says nothing of calls."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
"""What may stand in a path as it is."""
_FINAL: Final = frozenset({400, 404, 405, 413, 415, 422, 501})
"""Statuses that say: not this batch, or no batches at all. The rest may mend itself, or is mended by the operator."""


class AnthropicBatches:
    """A `BatchUpstream` of the port, at the same peer as the upstream's calls."""

    def __init__(self, *, name: str, peer: Peer, models: Mapping[str, str]) -> None:
        self.name = name
        self._peer = peer
        self._models = models
        self._path = f"{peer.prefix}/v1/messages/batches"

    def entry(self, custom_id: str, ask: Ask) -> bytes:
        params = {name: value for name, value in ask.document.items() if name != "stream"}
        params["model"] = self._models.get(ask.model, ask.model)
        return msgspec.json.encode({"custom_id": custom_id, "params": params})

    async def create(
        self, entries: Sequence[bytes], *, version: str, beta: str | None, on_wire: Callable[[], None]
    ) -> str:
        answer = await self._peer.post(
            partial(self._head, "POST", self._path, version, beta),
            b'{"requests":[%b]}' % b",".join(entries),
            model=QUEUE,
            first_byte_s=self._peer.transport.timeouts.first_byte_plain,
            on_wire=on_wire,
        )
        return (await self._read(answer, "create")).id

    async def has_ended(self, upstream_id: str, version: str) -> bool:
        answer = await self._ask("GET", f"{self._path}/{upstream_id}", version)
        return (await self._read(answer, "retrieve")).processing_status == "ended"

    async def cancel(self, upstream_id: str, version: str) -> None:
        answer = await self._ask("POST", f"{self._path}/{upstream_id}/cancel", version)
        await self._read(answer, "cancel")

    async def results(self, upstream_id: str, version: str) -> AsyncIterator[bytes]:
        answer = await self._ask("GET", f"{self._path}/{upstream_id}/results", version)
        if answer.status != 200:
            await self._read(answer, "results")
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: results were answered with status {answer.status}")
        try:
            begun: list[bytes] = []
            size = 0
            while piece := await answer.read():
                *lines, rest = piece.split(b"\n")
                for line in lines:
                    yield b"".join((*begun, line))
                    begun, size = [], 0
                begun.append(rest)
                size += len(rest)
                if size > LINE_BYTES_MAX:
                    raise Fault(FaultKind.PROTOCOL, f"{self.name}: a line of results has over {LINE_BYTES_MAX} bytes")
            if size:
                yield b"".join(begun)
        finally:
            answer.cancel()

    def redact(self, text: str) -> str:
        return self._peer.redact(text)

    def _head(self, method: Literal["POST", "GET"], path: str, version: str, beta: str | None, key: Key) -> bytes:
        headers = [
            *self._peer.key_headers(key),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("user-agent", "faregate"),
            ("anthropic-version", version),
        ]
        if beta is not None:
            headers.append(("anthropic-beta", beta))
        try:
            return request_head(self._peer.origin, path, headers, method=method)
        except ValueError as error:  # What is ours was tried at the start: it is a header of the caller's.
            raise BatchRefused(f"{self.name}: {error}", again=False) from None

    async def _ask(self, method: Literal["POST", "GET"], path: str, version: str) -> Answer:
        """Ask with each key in turn until one knows the batch: keys may be of several workspaces."""
        keys = self._peer.keys.all
        for key in keys:
            answer = await self._peer.transport.send(
                self._peer.origin, self._head(method, path, version, None, key), b""
            )
            if answer.status not in (401, 403, 404) or key is keys[-1]:
                return answer
            answer.cancel()
        raise AssertionError("there is a key at least, if only the one that is not sent")

    async def _read(self, answer: Answer, verb: str) -> "_Batch":
        data = b""
        while piece := await answer.read():
            data += piece
            if len(data) > ANSWER_BYTES_MAX:
                answer.cancel()
                raise Fault(FaultKind.PROTOCOL, f"{self.name}: {verb} answered more than {ANSWER_BYTES_MAX} bytes")
        if not 200 <= answer.status < 300:
            message = self.redact(data[:MESSAGE_CHARS_MAX].decode("utf-8", "replace"))
            raise BatchRefused(
                f"{self.name}: {verb} was answered with status {answer.status}: {message}",
                again=answer.status not in _FINAL or _is_ours(data),
                asked_ms=asked_wait_ms(answer.headers, now_ms=int(time.time() * 1_000)),
            )
        try:
            batch = msgspec.json.decode(data, type=_Batch)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: {verb} answered with no batch: {error}") from None
        if _ID.fullmatch(batch.id) is None:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: {verb} answered with an id that is none")
        return batch


class _Batch(msgspec.Struct):
    id: str
    processing_status: str = ""


class _Error(msgspec.Struct):
    message: str


class _Envelope(msgspec.Struct):
    error: _Error


def _is_ours(data: bytes) -> bool:
    """Whether a 400 is about the operator's account, and not about the batch."""
    try:
        return about_our_account(msgspec.json.decode(data, type=_Envelope).error.message)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
