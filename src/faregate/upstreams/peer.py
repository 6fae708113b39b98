"""An HTTP upstream below what it speaks: its address, and its keys in turn.

One rule: a request is sent with another key only when upstream has refused the one before, so that at most one of them
is generated, and billed.

    post(head_of, body) -> Answer      head_of(key) gives the request's head; the last key's refusal is the answer
"""

from collections.abc import Callable, Sequence
from typing import Literal

from faregate.upstreams.keys import Key, Keys
from faregate.upstreams.origin import parse_base_url
from faregate.upstreams.port import Answer
from faregate.upstreams.transport import Transport

Auth = Literal["x-api-key", "bearer"]


class Peer:
    """It borrows its transport, which several upstreams may share."""

    def __init__(
        self,
        *,
        base_url: str,
        api_keys: Sequence[str],
        auth: Auth,
        transport: Transport,
    ) -> None:
        """Raises ValueError, with a sentence that holds neither key nor URL, on a setting that cannot work."""
        self.origin, self.prefix = parse_base_url(base_url)
        self.keys = Keys(api_keys)
        self.transport = transport
        self._auth = auth

    def key_headers(self, key: Key) -> list[tuple[str, str]]:
        """How a key is sent; nothing where there is none."""
        if key.secret is None:
            return []
        return [("x-api-key", key.secret) if self._auth == "x-api-key" else ("authorization", f"Bearer {key.secret}")]

    async def post(
        self,
        head_of: Callable[[Key], bytes],
        body: bytes,
        *,
        model: str,
        first_byte_s: float,
        on_wire: Callable[[], None] | None,
    ) -> Answer:
        """Send it and wait for the head of the answer. `model` is what keys are refused for. Raises Fault."""
        keys = self.keys.in_turn(model)
        for key in keys:
            answer = await self.transport.send(
                self.origin, head_of(key), body, first_byte_s=first_byte_s, on_wire=on_wire
            )
            if not self.keys.refused(key, model, answer.status, answer.headers) or key is keys[-1]:
                return answer
            answer.cancel()
        raise AssertionError("there is a key at least, if only the one that is not sent")

    def redact(self, text: str) -> str:
        """What upstream said, without our keys at it and its address."""
        text = self.keys.redact(text).replace(self.origin.target, "[redacted]")
        # Where the port is the scheme's own, an address is written without it. A name of one label may be any word.
        host = self.origin.host
        return text.replace(host, "[redacted]") if "." in host or ":" in host else text
