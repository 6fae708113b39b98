"""What the adapters to the clouds share: the way there, answers read whole, and refusals in Anthropic's envelope.

One rule: a cloud's own words about its operator's account, project or model names are not for callers; what it says
about their request is, word for word.

    Link(name, base_url, transport)     post(head, body, ...) -> Answer; redact(text)
    refusal(status, message, headers)   an Answer as Anthropic would have refused
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from faregate.core.errors import BodyTooLarge, InvalidRequest
from faregate.upstreams.origin import parse_base_url
from faregate.upstreams.port import Answer, Ask, Fault, FaultKind, Whole
from faregate.upstreams.transport import Transport

BODY_BYTES_MAX: Final = 256 * 1024
"""A count is a few bytes and an error a few hundred; more is neither."""

FIRST_VERSION: Final = "2023-06-01"
"""The `anthropic-version` for which each cloud has a name of its own."""

TOO_LONG: Final = "prompt is too long"
"""How Anthropic begins what clients know as the end of the context window."""

_KINDS: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
    529: "overloaded_error",
}  # fmt: skip
_KEPT_HEADERS: Final = ("retry-after", "retry-after-ms")


class Link:
    """The way to one cloud."""

    def __init__(self, *, name: str, base_url: str, transport: Transport) -> None:
        """Raises ValueError, with a sentence that does not hold the URL."""
        self.name = name
        self.transport = transport
        self.origin, self.prefix = parse_base_url(base_url)

    async def post(self, head: bytes, body: bytes, ask: Ask, *, first_byte_s: float) -> Answer:
        """Send it once. Raises Fault."""
        return await self.transport.send(self.origin, head, body, first_byte_s=first_byte_s, on_wire=ask.on_wire)

    def first_byte_s(self, ask: Ask) -> float:
        timeouts = self.transport.timeouts
        return timeouts.first_byte if ask.stream else timeouts.first_byte_plain

    def redact(self, text: str, *secrets: str) -> str:
        for secret in (*secrets, self.origin.target, self.origin.host):
            if secret:
                text = text.replace(secret, "[redacted]")
        return text

    async def whole(self, answer: Answer) -> bytes:
        """A short answer, all of it. Raises Fault when it is not short."""
        data = b""
        try:
            while piece := await answer.read():
                data += piece
                if len(data) > BODY_BYTES_MAX:
                    raise Fault(FaultKind.PROTOCOL, f"{self.name}: answered more than {BODY_BYTES_MAX} bytes")
        except BaseException:
            answer.cancel()
            raise
        return data

    def not_counted(self, status: int, message: str) -> Exception:
        """What a refusal to count means: InvalidRequest or BodyTooLarge where it is the caller's, else a Fault. The
        message is one that a caller may read."""
        message = message or "The upstream refused to count this request."
        if status == 413:
            return BodyTooLarge(message)
        if status == 400:
            too_long = message.startswith(TOO_LONG)
            return InvalidRequest(message, code="context_length_exceeded" if too_long else "invalid_param")
        return Fault(FaultKind.PROTOCOL, f"{self.name}: a count was answered with status {status}")


def betas(beta: str | None, withheld: Collection[str]) -> list[str]:
    """The betas of an `anthropic-beta`, without those that a cloud is not to hear of."""
    named = (name.strip() for name in (beta or "").split(","))
    return [name for name in named if name and name not in withheld]


def refusal(status: int, message: str, headers: Mapping[str, str]) -> Whole:
    """A refusal in Anthropic's envelope, with the wait that the cloud asked for."""
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    body = msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
    kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
    return Whole(status, {"content-type": "application/json", **kept}, body)
