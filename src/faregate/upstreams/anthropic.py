"""Anthropic's own API, or whatever speaks it: POST {base_url}/v1/messages with our bytes, its answer as it comes.

One rule: what goes up is our body, our key and the two `anthropic-*` headers; nothing else of the caller's, and the key
is in no repr, log line or fault. Only where the upstream has a name of its own for the model is the body written anew.

    Ask ──> head (kept per version, beta and key) + body ──> Peer ──> Reply, which is the Answer
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Final

import msgspec

from faregate.core.errors import BodyTooLarge, InvalidRequest
from faregate.core.routing import about_our_account
from faregate.upstreams.anthropic_batches import AnthropicBatches
from faregate.upstreams.keys import Key
from faregate.upstreams.origin import check_header, request_head
from faregate.upstreams.peer import Auth, Peer
from faregate.upstreams.port import Answer, Ask, Fault, FaultKind
from faregate.upstreams.transport import Transport

HEADS_MAX: Final = 256
"""Heads kept. A beta list is the caller's to write, so the cache is bounded and starts anew when it is full."""
HEAD_KEPT_BYTES_MAX: Final = 4096

COUNTED_FIELDS: Final = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "thinking", "cache_control", "output_config", "speed",
        "context_management", "mcp_servers", "billing_policy", "compaction",
    }
)  # fmt: skip
"""What count_tokens takes, of a Messages body (the SDK's message_count_tokens_params, stable and beta)."""
COUNT_BYTES_MAX: Final = 256 * 1024
"""A count is a few bytes and an error a few hundred; more is not an answer to this question."""


class Anthropic:
    """An `Upstream` of the port. It borrows its transport, which several upstreams may share."""

    embedded = False

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_keys: Sequence[str],
        transport: Transport,
        auth: Auth = "x-api-key",
        models: Mapping[str, str] | None = None,
        takes_batches: bool = False,
    ) -> None:
        """`models` is what it calls them, by the catalog's ids. Raises ValueError, with a sentence that holds neither
        key nor URL, on a setting that cannot work.
        """
        self.name = name
        self._peer = Peer(base_url=base_url, api_keys=api_keys, auth=auth, transport=transport)
        self._path = f"{self._peer.prefix}/v1/messages"
        self._models = dict(models or {})
        self.takes_batches = takes_batches
        """Whether it is to be handed batches; what was handed to it once is asked for in any case."""
        self.batches = AnthropicBatches(name=name, peer=self._peer, models=self._models)
        self._heads: dict[tuple[str, str, str | None, int], bytes] = {}
        # A key or prefix that cannot stand in a request is found now and not by the first caller.
        for key in self._peer.keys.all:
            self._head(self._path, "2023-06-01", None, key)

    def __repr__(self) -> str:
        return f"Anthropic(name={self.name!r}, host={self._peer.origin.target})"

    async def start(self) -> None:
        """Nothing to do: connections are opened when they are needed."""

    async def stop(self) -> None:
        """Nothing to do: the transport is closed by who made it."""

    async def send(self, ask: Ask) -> Answer:
        timeouts = self._peer.transport.timeouts
        first_byte_s = timeouts.first_byte if ask.stream else timeouts.first_byte_plain
        theirs = self._models.get(ask.model)
        body = ask.body if theirs is None else msgspec.json.encode({**ask.document, "model": theirs})
        return await self._post(self._path, ask, body, first_byte_s)

    async def count_tokens(self, ask: Ask) -> int | None:
        """Upstream's count; None where it has no such endpoint (404). A 400 or 413 is the caller's: InvalidRequest or
        BodyTooLarge with upstream's words. Any other status, and an answer that holds no count, is a Fault.
        """
        counted = {name: value for name, value in ask.document.items() if name in COUNTED_FIELDS}
        if ask.model in self._models:
            counted["model"] = self._models[ask.model]
        body = msgspec.json.encode(counted)
        answer = await self._post(f"{self._path}/count_tokens", ask, body, self._peer.transport.timeouts.first_byte)
        data = await self._read_whole(answer)
        if answer.status == 404:
            return None
        message = self.redact(_message_of(data))
        if answer.status == 413:
            raise BodyTooLarge(message)
        if answer.status == 400 and not about_our_account(message):
            too_long = message.startswith("prompt is too long")
            raise InvalidRequest(message, code="context_length_exceeded" if too_long else "invalid_param")
        if not 200 <= answer.status < 300:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: count_tokens was answered with status {answer.status}")
        try:
            return msgspec.json.decode(data, type=_Count).input_tokens
        except msgspec.MsgspecError as error:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: count_tokens answered without a count: {error}") from None

    def redact(self, text: str) -> str:
        return self._peer.redact(text)

    def healthy(self) -> bool:
        """There is nothing of ours that could be down; of the other side the breaker knows."""
        return True

    async def _post(self, path: str, ask: Ask, body: bytes, first_byte_s: float) -> Answer:
        head_of = partial(self._head, path, ask.version, ask.beta)
        return await self._peer.post(head_of, body, model=ask.model, first_byte_s=first_byte_s, on_wire=ask.on_wire)

    def _head(self, path: str, version: str, beta: str | None, key: Key) -> bytes:
        kept = self._heads.get((path, version, beta, key.place))
        if kept is not None:
            return kept
        for name, value in (("anthropic-version", version), ("anthropic-beta", beta)):
            if value is not None:
                _check_caller_header(name, value)
        headers = [
            *self._peer.key_headers(key),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("user-agent", "faregate"),
            ("anthropic-version", version),
        ]
        if beta is not None:
            headers.append(("anthropic-beta", beta))
        head = request_head(self._peer.origin, path, headers)
        if len(head) <= HEAD_KEPT_BYTES_MAX:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            self._heads[path, version, beta, key.place] = head
        return head

    async def _read_whole(self, answer: Answer) -> bytes:
        data = b""
        while piece := await answer.read():
            data += piece
            if len(data) > COUNT_BYTES_MAX:
                answer.cancel()
                raise Fault(FaultKind.PROTOCOL, f"{self.name}: count_tokens answered more than {COUNT_BYTES_MAX} bytes")
        return data


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


class _Error(msgspec.Struct):
    message: str


class _Envelope(msgspec.Struct):
    error: _Error


def _message_of(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Envelope).error.message
    except msgspec.MsgspecError:
        return "upstream refused to count this request"


def _check_caller_header(name: str, value: str) -> None:
    try:
        check_header(name, value)
    except ValueError:
        raise InvalidRequest(f"{name}: has a line break, a control character or a space at an end") from None
