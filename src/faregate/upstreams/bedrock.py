"""Amazon Bedrock: POST {base_url}/model/{id}/invoke, signed, and its event stream as Anthropic's.

One rule: the relay is ours and the proof of who we are is Amazon's: keys and signatures are botocore's, and nothing of
theirs is in a repr, log line or fault.

    Ask ──> body (version and betas in it, model and stream not) ──> signature or bearer key ──> Link ──> Answer
    {"message": ...} and x-amzn-errortype ──> Anthropic's envelope and status
"""

import asyncio
import base64
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec

from faregate.upstreams import aws_keys
from faregate.upstreams.cloud import FIRST_VERSION, TOO_LONG, Link, betas, refusal
from faregate.upstreams.eventstream import CONTENT_TYPE, Events
from faregate.upstreams.origin import request_head
from faregate.upstreams.port import Answer, Ask, Fault, FaultKind, Whole
from faregate.upstreams.renewal import Renewal
from faregate.upstreams.transport import Transport

VERSION: Final = "bedrock-2023-05-31"
"""What Bedrock calls the API's FIRST_VERSION; later ones it calls as Anthropic does."""

HEAVY_BODY_BYTES: Final = 1024 * 1024
"""Larger ones are hashed in a thread: they would hold up the loop for a millisecond and more."""

_STATUSES: Final = {
    "ThrottlingException": 429, "ServiceQuotaExceededException": 429, "ModelNotReadyException": 503,
    "ModelTimeoutException": 504, "ModelErrorException": 500, "ModelStreamErrorException": 500,
    "ServiceUnavailableException": 503, "InternalServerException": 500, "ResourceNotFoundException": 404,
    "AccessDeniedException": 403, "UnrecognizedClientException": 403, "ExpiredTokenException": 403,
    "InvalidSignatureException": 403, "IncompleteSignatureException": 403, "MissingAuthenticationTokenException": 403,
}  # fmt: skip
"""Where Bedrock's status says something else to a client of Anthropic's, or not what is worth trying again."""

_PREFIX: Final = "The model returned the following errors: "
_TOO_LONG: Final = "Input is too long for requested model"
_NO_SUCH_MODEL: Final = re.compile(
    r"The provided model identifier is invalid|.*with on-demand throughput isn.t supported"
)
_OUR_ACCOUNT: Final = re.compile(r"Operation not allowed|Model use case details have not been submitted|Access denied")
"""How Bedrock begins a 400 or a 404 that no change of the request will mend."""
_NO_COUNT: Final = re.compile(r".*support(s|ing)? counting tokens")
_ARN: Final = re.compile(r"arn:aws[\w-]*:[^\s\"'`,]+")
_GEOGRAPHY: Final = re.compile(r"[a-z-]+\.(?=anthropic\.)")
"""What makes an inference profile of a model: `us.`, `eu.`, `global.` before it."""


class Bedrock:
    """An `Upstream` of the port. It borrows its transport."""

    embedded = False

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        region: str,
        transport: Transport,
        models: Mapping[str, str] | None = None,
        profile: str | None = None,
        api_key: str | None = None,
        betas_withheld: Collection[str] = (),
    ) -> None:
        """With an `api_key` nothing is signed. Raises ValueError, with a sentence that holds neither key nor URL."""
        self.name = name
        self._link = Link(name=name, base_url=base_url, transport=transport)
        self._region = region
        self._models = dict(models or {})
        self._withheld = frozenset(betas_withheld)
        self._api_key = api_key or ""
        self._keys: Renewal[aws_keys.Keys] = Renewal(aws_keys.AwsKeys(profile), name=name, soon_s=aws_keys.SOON_S)
        origin = self._link.origin
        self._root = f"{origin.scheme}://{origin.authority}"
        self._bearer = [
            ("authorization", f"Bearer {self._api_key}"),
            ("content-type", aws_keys.CONTENT_TYPE),
            ("accept", aws_keys.CONTENT_TYPE),
        ]
        if self._api_key:  # One that cannot stand in a request is found now and not by the first caller.
            request_head(origin, self._path("m", "invoke"), self._bearer)

    def __repr__(self) -> str:
        return f"Bedrock(name={self.name!r}, host={self._link.origin.target})"

    async def start(self) -> None:
        """Find the credentials. Raises CannotStart where there are none."""
        if not self._api_key:
            await self._keys.start()

    async def stop(self) -> None:
        await self._keys.stop()

    def healthy(self) -> bool:
        return bool(self._api_key or self._keys.held is not None)

    def redact(self, text: str) -> str:
        return self._link.redact(_ARN.sub("[redacted]", text), self._api_key)

    async def send(self, ask: Ask) -> Answer:
        body = msgspec.json.encode(self._body(ask))
        verb = "invoke-with-response-stream" if ask.stream else "invoke"
        answer = await self._post(self._path(self._model(ask), verb), body, ask, self._link.first_byte_s(ask))
        if answer.status != 200:
            return await self._refused(answer)
        if ask.stream and answer.headers.get("content-type", "").startswith(CONTENT_TYPE):
            return Events(answer, self.name)
        return answer

    async def count_tokens(self, ask: Ask) -> int | None:
        """Bedrock's count; None for a model that it does not count. It counts by a model's own id: asked for an
        inference profile it refuses, so the profile's geography is left out, and what has none is not counted.
        """
        model = _GEOGRAPHY.sub("", self._model(ask), count=1)
        body = msgspec.json.encode({"max_tokens": 1, **self._body(ask)})  # It refuses a body that could not be sent.
        asked = msgspec.json.encode({"input": {"invokeModel": {"body": base64.b64encode(body).decode()}}})
        path = self._path(model, "count-tokens")
        answer = await self._post(path, asked, ask, self._link.transport.timeouts.first_byte)
        if answer.status != 200:
            status, message = _meaning(answer.status, answer.headers, await self._link.whole(answer))
            if status == 404 or _NO_COUNT.match(message):
                return None
            raise self._link.not_counted(status, self.redact(message))
        try:
            return msgspec.json.decode(await self._link.whole(answer), type=_Count).tokens
        except msgspec.MsgspecError as error:
            raise Fault(FaultKind.PROTOCOL, f"{self.name}: count-tokens answered without a count: {error}") from None

    def _model(self, ask: Ask) -> str:
        return self._models.get(ask.model, ask.model)

    def _body(self, ask: Ask) -> dict[str, Any]:
        body = {name: value for name, value in ask.document.items() if name not in ("model", "stream")}
        body["anthropic_version"] = VERSION if ask.version == FIRST_VERSION else ask.version
        if named := betas(ask.beta, self._withheld):
            body["anthropic_beta"] = named
        return body

    def _path(self, model: str, verb: str) -> str:
        return f"{self._link.prefix}/model/{quote(model, safe='')}/{verb}"

    async def _post(self, path: str, body: bytes, ask: Ask, first_byte_s: float) -> Answer:
        headers = self._bearer
        if not self._api_key:
            keys = await self._keys.get()
            signing = (keys, self._region, self._root + path, body)
            if len(body) > HEAVY_BODY_BYTES:
                headers = await asyncio.to_thread(aws_keys.signed, *signing)
            else:
                headers = aws_keys.signed(*signing)
        head = request_head(self._link.origin, path, headers)
        return await self._link.post(head, body, ask, first_byte_s=first_byte_s)

    async def _refused(self, answer: Answer) -> Whole:
        status, message = _meaning(answer.status, answer.headers, await self._link.whole(answer))
        return refusal(status, message, answer.headers)


class _Count(msgspec.Struct):
    tokens: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="inputTokens")


class _Trouble(msgspec.Struct):
    message: str = ""
    type: str = msgspec.field(default="", name="__type")
    shouted: str = msgspec.field(default="", name="Message")
    """As the door before Bedrock writes it."""


def _meaning(status: int, headers: Mapping[str, str], data: bytes) -> tuple[int, str]:
    """What a refusal of Bedrock's would have been at Anthropic's: status and message."""
    try:
        trouble = msgspec.json.decode(data, type=_Trouble)
    except msgspec.MsgspecError:
        trouble = _Trouble()
    name = headers.get("x-amzn-errortype") or trouble.type.rpartition("#")[2]
    message = (trouble.message or trouble.shouted).removeprefix(_PREFIX)
    status = _STATUSES.get(name.partition(":")[0], status)
    if status == 400 and message.startswith(_TOO_LONG):
        return 400, f"{TOO_LONG}: {message}"
    if status in (400, 404) and _OUR_ACCOUNT.match(message):
        return 403, message
    if status == 400 and _NO_SUCH_MODEL.match(message):
        return 404, message
    return status, message
