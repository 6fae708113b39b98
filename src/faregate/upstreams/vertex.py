"""Google's Vertex AI: POST {base_url}/v1/projects/.../models/{id}:rawPredict with a token; the answers are Anthropic's.

One rule: the relay is ours and the proof of who we are is Google's: tokens are google-auth's, and no token is in a
repr, log line or fault.

    Ask ──> body (version in it, model not) ──> token ──> Link ──> Answer, as it comes
    Google's {"error": {"message": ...}}, in a list or not ──> Anthropic's envelope and status
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec

from faregate.core.errors import InvalidRequest
from faregate.upstreams.anthropic import COUNTED_FIELDS
from faregate.upstreams.cloud import FIRST_VERSION, TOO_LONG, Link, betas, refusal
from faregate.upstreams.google_tokens import SOON_S, GoogleTokens, Headers
from faregate.upstreams.origin import check_header, request_head
from faregate.upstreams.port import Answer, Ask, Fault, FaultKind, Whole
from faregate.upstreams.renewal import Renewal
from faregate.upstreams.transport import Transport

VERSION: Final = "vertex-2023-10-16"
"""What Vertex calls the API's FIRST_VERSION; later ones it calls as Anthropic does."""

HEADS_MAX: Final = 256
"""Heads kept for a token. A beta list is the caller's to write, so there is a bound."""
HEAD_KEPT_BYTES_MAX: Final = 8192

COUNT_MODEL: Final = "count-tokens"
"""A model by name, whose answer is the count for the one in the body."""

_NOT_OURS: Final = re.compile(r"Project .* is not allowed to use Publisher Model|.*has not been used in project")
_PROJECT: Final = re.compile(r"projects/[\w.:-]+")


class Vertex:
    """An `Upstream` of the port. It borrows its transport."""

    embedded = False

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        project: str,
        region: str,
        transport: Transport,
        models: Mapping[str, str] | None = None,
        credentials_file: str | None = None,
        betas_withheld: Collection[str] = (),
    ) -> None:
        """Raises ValueError, with a sentence that does not hold the URL."""
        self.name = name
        self._link = Link(name=name, base_url=base_url, transport=transport)
        self._project = project
        self._models = dict(models or {})
        self._withheld = frozenset(betas_withheld)
        self._root = (
            f"{self._link.prefix}/v1/projects/{quote(project, safe=':')}/locations/{quote(region, safe='')}"
            "/publishers/anthropic/models/"
        )
        self._tokens: Renewal[Headers] = Renewal(GoogleTokens(credentials_file), name=name, soon_s=SOON_S)
        self._proof: Headers = ()
        self._heads: dict[tuple[str, str | None], bytes] = {}

    def __repr__(self) -> str:
        return f"Vertex(name={self.name!r}, host={self._link.origin.target})"

    async def start(self) -> None:
        """Find the credentials and fetch a token. Raises CannotStart where there are none."""
        await self._tokens.start()

    async def stop(self) -> None:
        await self._tokens.stop()

    def healthy(self) -> bool:
        return self._tokens.held is not None

    def redact(self, text: str) -> str:
        held = self._tokens.held or ()
        tokens = [value.removeprefix("Bearer ") for name, value in held if name == "authorization"]
        return self._link.redact(_PROJECT.sub("[redacted]", text), self._project, *tokens)

    async def send(self, ask: Ask) -> Answer:
        fields = {name: value for name, value in ask.document.items() if name != "model"}
        path = f"{self._model(ask)}:{'streamRawPredict' if ask.stream else 'rawPredict'}"
        answer = await self._post(path, fields, ask, self._link.first_byte_s(ask))
        return answer if answer.status == 200 else await self._refused(answer)

    async def count_tokens(self, ask: Ask) -> int | None:
        """Vertex's count; None where it has none (404)."""
        counted = {name: ask.document[name] for name in COUNTED_FIELDS if name in ask.document}
        fields = {**counted, "model": self._models.get(ask.model, ask.model)}
        answer = await self._post(f"{COUNT_MODEL}:rawPredict", fields, ask, self._link.transport.timeouts.first_byte)
        data = await self._link.whole(answer)
        if answer.status != 200:
            status, message = _meaning(answer.status, data)
            if status == 404:
                return None
            raise self._link.not_counted(status, self.redact(message))
        try:
            return msgspec.json.decode(data, type=_Count).input_tokens
        except msgspec.MsgspecError as error:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: {COUNT_MODEL} answered without a count: {error}") from None

    def _model(self, ask: Ask) -> str:
        return quote(self._models.get(ask.model, ask.model), safe="@")

    async def _post(self, path: str, fields: dict[str, Any], ask: Ask, first_byte_s: float) -> Answer:
        proof = await self._tokens.get()
        if proof is not self._proof:
            self._proof = proof
            self._heads.clear()
        head = self._heads.get((path, ask.beta)) or self._head(path, ask.beta)
        version = VERSION if ask.version == FIRST_VERSION else ask.version
        body = msgspec.json.encode({**fields, "anthropic_version": version})
        return await self._link.post(head, body, ask, first_byte_s=first_byte_s)

    def _head(self, path: str, beta: str | None) -> bytes:
        headers = [*self._proof, ("content-type", "application/json"), ("accept", "application/json")]
        if beta is not None:
            try:
                check_header("anthropic-beta", beta)
            except ValueError:
                raise InvalidRequest(
                    "anthropic-beta: has a line break, a control character or a space at an end"
                ) from None
            if named := betas(beta, self._withheld):
                headers.append(("anthropic-beta", ",".join(named)))
        head = request_head(self._link.origin, self._root + path, headers)
        if len(head) <= HEAD_KEPT_BYTES_MAX:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            self._heads[path, beta] = head
        return head

    async def _refused(self, answer: Answer) -> Whole:
        status, message = _meaning(answer.status, await self._link.whole(answer))
        return refusal(status, message, answer.headers)


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


class _Error(msgspec.Struct):
    message: str = ""


class _Trouble(msgspec.Struct):
    error: _Error


def _meaning(status: int, data: bytes) -> tuple[int, str]:
    """What a refusal of Vertex's would have been at Anthropic's: status and message. Google puts its own into a list
    where a stream was asked for."""
    try:
        found = msgspec.json.decode(data, type=_Trouble | list[_Trouble])
    except msgspec.MsgspecError:
        found = []
    troubles = found if isinstance(found, list) else [found]
    message = troubles[0].error.message if troubles else ""
    if status in (400, 413) and message.lower().startswith(TOO_LONG):
        return 400, TOO_LONG + message[len(TOO_LONG) :]
    if status == 400 and _NOT_OURS.match(message):
        return 403, message
    return status, message
