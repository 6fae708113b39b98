"""A call by OpenAI's door: what it says is translated as it passes, and the story that it is served by is the same.

The rule: nothing is decided here. The story hears a Messages request and answers with the Messages API's bytes; a
ChatCall writes both anew, so what is quoted, held, kept for a repeat and billed knows of no other door.

    bytes of the body ──translate──> body()          answer(), start() send()... end(), refuse() ──> OpenAI's shapes
"""

from typing import Any

import msgspec

from faregate.core.admission import refusal
from faregate.core.catalog import Catalog
from faregate.core.chat import completion
from faregate.core.chat_stream import ChunkStream
from faregate.core.errors import GatewayError
from faregate.edge.call import Call
from faregate.edge.errors import render
from faregate.proxy.port import Headers
from faregate.wire.chat import Chat, translate
from faregate.wire.request import Malformed, decode

DROPPED = b"x-dropped-parameters"


class ChatCall(Call):
    """A request to /v1/chat/completions whose head has come."""

    __slots__ = ("_chat", "_rewriter", "catalog")

    catalog: Catalog

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._chat: Chat | None = None
        """What was asked, once it is known."""
        self._rewriter = ChunkStream(include_usage=False)

    async def body(self) -> bytes:
        body = await super().body()
        try:
            chat = translate(decode(body), self._max_output)
        except Malformed as error:
            raise refusal(error) from None
        # The story parses what it hears: a second copy of a large request would be kept for as long as its call.
        self._chat = msgspec.structs.replace(chat, document={})
        self._rewriter = ChunkStream(include_usage=chat.include_usage)
        return msgspec.json.encode(chat.document)

    def _max_output(self, name: object) -> int:
        """All that the model can generate, which the hold clamps to what the wallet affords."""
        model = self.catalog.find(name) if isinstance(name, str) else None
        return 0 if model is None else model.max_output  # The story refuses an unknown model before it reads this.

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        await super().answer(status, self._reworded(headers), completion(body))

    async def start(self, headers: Headers) -> None:
        await super().start(self._reworded(headers))

    def send(self, data: bytes) -> None:
        if chunks := self._rewriter.feed(data):
            super().send(chunks)

    async def end(self, data: bytes) -> None:
        await super().end(self._rewriter.end(data))

    async def refuse(self, error: GatewayError) -> None:
        if self.response_started:
            body = msgspec.json.encode(self._envelope(error, self.request_id))
            await super().end(b"data: %b\n\n" % body)
            return
        status, headers, body = render(error, self.request_id, self._envelope)
        await self._finish(self._rendered(status, [*headers, self._numbered]) + body)

    @property
    def _numbered(self) -> tuple[bytes, bytes]:
        """The request's id under the name by which OpenAI's clients know it."""
        return b"x-request-id", self.request_id.encode()

    def _reworded(self, headers: Headers) -> Headers:
        """The headers of an answer, with what was dropped in the caller's own words."""
        chat = self._chat
        assert chat is not None, "what is answered has been read"
        dropped = list(chat.dropped)
        for name, value in headers:
            if name == DROPPED:
                dropped += map(chat.place, value.decode().split(", "))
        kept = [header for header in headers if header[0] != DROPPED]
        if dropped:
            kept.append((DROPPED, ", ".join(dropped).encode()))
        return [*kept, self._numbered]

    def _envelope(self, error: GatewayError, request_id: str) -> dict[str, Any]:
        """OpenAI's envelope. What it has no room for stays under Anthropic's names, which its clients pass on."""
        details = {**error.details, "error_code": error.code}
        message, param = error.message, details.get("parameter")
        if self._chat is not None and isinstance(param, str):
            details["parameter"] = place = self._chat.place(param)
            if message.startswith(param):
                message = place + message.removeprefix(param)
            param = place
        elif param is None and message.startswith("model: "):
            param = "model"
        said = {"message": message, "type": error.kind, "param": param, "code": error.code, "details": details}
        return {"error": said, "request_id": request_id}
