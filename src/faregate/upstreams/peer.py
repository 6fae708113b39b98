"""An HTTP upstream below what it speaks: its address, its keys in turn, and whether it can be reached.

One rule: a request is sent with another key only when upstream has refused the one before, so that at most one of them
is generated, and billed.

    post(head_of, body) -> Answer      head_of(key) gives the request's head; the last key's refusal is the answer
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from faregate.upstreams.keys import Key, Keys
from faregate.upstreams.origin import parse_base_url
from faregate.upstreams.port import Answer, Fault, FaultKind
from faregate.upstreams.transport import Transport

FAILURES_MAX: Final = 3
RECOVERY_S: Final = 10.0
"""See `healthy`."""

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
        recovery_s: float = RECOVERY_S,
    ) -> None:
        """Raises ValueError, with a sentence that holds neither key nor URL, on a setting that cannot work."""
        self.origin, self.prefix = parse_base_url(base_url)
        self.keys = Keys(api_keys)
        self.transport = transport
        self._auth = auth
        self._recovery_s = recovery_s
        self._failures = 0
        self._failed_at = 0.0

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
        first_byte_s: float,
        on_wire: Callable[[], None] | None,
    ) -> Answer:
        """POST it and wait for the head of the answer. Raises Fault."""
        keys = self.keys.in_turn()
        for key in keys:
            answer = await self._send(head_of(key), body, first_byte_s, on_wire)
            if not self.keys.refused(key, answer.status, answer.headers) or key is keys[-1]:
                return answer
            answer.cancel()
        raise AssertionError("there is a key at least, if only the one that is not sent")

    def redact(self, text: str) -> str:
        """What upstream said, without our keys at it and its address."""
        return self.keys.redact(text).replace(self.origin.target, "[redacted]")

    def healthy(self) -> bool:
        """False for `recovery_s` after the last of three or more attempts in a row that found no connection; then a
        call may try again. Statuses and streams that broke are not held against it: the breaker judges those.
        """
        return self._failures < FAILURES_MAX or time.monotonic() - self._failed_at >= self._recovery_s

    async def _send(self, head: bytes, body: bytes, first_byte_s: float, on_wire: Callable[[], None] | None) -> Answer:
        try:
            answer = await self.transport.send(self.origin, head, body, first_byte_s=first_byte_s, on_wire=on_wire)
        except Fault as fault:
            if fault.kind is FaultKind.CONNECT:
                self._failures += 1
                self._failed_at = time.monotonic()
            raise
        self._failures = 0
        return answer
