"""A Bedrock on loopback: it checks each signature from the bytes it received, and answers in frames of its own making.

Method: Signature Version 4 and the event stream are written here from their specifications, without botocore. The
model behind it is the scripted upstream's mimic, so bodies, usage and streams are Anthropic's.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from faregate.upstreams.mimic import Mimic
from faregate.upstreams.script import Play, Seen, plain
from faregate.wire import sse

ACCESS, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-north-1"
VERSIONS = ("bedrock-2023-05-31", "2026-10-21")
STREAM = "application/vnd.amazon.eventstream"
METRICS = {"inputTokenCount": 12, "outputTokenCount": 16, "invocationLatency": 710, "firstByteLatency": 380}

_PATH = re.compile(r"(?:/vpce)?/model/([^/]+)/(invoke|invoke-with-response-stream|count-tokens)")
_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})")


class Peer:
    """A script of the scripted server. `plays` come first, one per call whose proof is good; None is the usual one."""

    def __init__(
        self, *, secret: str = SECRET, token: str | None = None, api_key: str | None = None, split: int = 0
    ) -> None:
        self.plays: list[Play | None] = []
        self.refused: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.models: list[str] = []
        self.seen: list[Seen] = []
        self.answers: list[Play] = []
        """The usual ones, as Anthropic would have given them."""
        self._secret = secret
        self._token = token
        self._api_key = api_key
        self._split = split
        self._mimic = Mimic()

    def __call__(self, seen: Seen) -> Play:
        self.seen.append(seen)
        wrong = self._wrong(seen)
        if wrong:
            self.refused.append(wrong)
            return trouble(403, "InvalidSignatureException", f"The signature does not match: {wrong}")
        if self.plays and (play := self.plays.pop(0)) is not None:
            return play
        found = _PATH.fullmatch(seen.path)
        assert found is not None, seen.path
        model, verb = unquote(found[1]), found[2]
        self.models.append(model)
        if verb == "count-tokens":
            return self._count(seen)
        self.bodies.append(seen.document)
        return self._invoke(seen, model, stream=verb.endswith("stream"))

    def _invoke(self, seen: Seen, model: str, *, stream: bool) -> Play:
        known = seen.document.get("anthropic_version") in VERSIONS
        bad = not known or {"model", "stream"} & seen.document.keys()
        if bad:
            return trouble(400, "ValidationException", "Malformed input request: extraneous key is not permitted")
        asked = {name: value for name, value in seen.document.items() if not name.startswith("anthropic_")}
        usual = self._mimic.answer(
            "/v1/messages", msgspec.json.encode({**asked, "model": model, "stream": stream}), seen.at
        )
        self.answers.append(usual)
        if usual.status != 200 or not stream:
            return usual
        return event_stream([frame.data for part in usual.frames for frame in sse.frames(part)], split=self._split)

    def _count(self, seen: Seen) -> Play:
        body = json.loads(base64.b64decode(seen.document["input"]["invokeModel"]["body"]))
        self.bodies.append(body)
        if not {"max_tokens", "anthropic_version", "messages"} <= body.keys():
            return trouble(400, "ValidationException", "Malformed input request: required key [max_tokens] not found")
        return plain({"inputTokens": 21})

    def _wrong(self, seen: Seen) -> str:
        proof = seen.headers.get("authorization", "")
        if self._api_key is not None:
            return "" if proof == f"Bearer {self._api_key}" else "the API key"
        return wrong_signature(seen, self._secret, self._token)


def wrong_signature(seen: Seen, secret: str, token: str | None) -> str:
    """Why a request's signature is not good; "" where it is."""
    found = _AUTHORIZATION.fullmatch(seen.headers.get("authorization", ""))
    if found is None:
        return "no signature"
    credential, names, signature = found.groups()
    stamp = seen.headers.get("x-amz-date", "")
    scope = f"{stamp[:8]}/{REGION}/bedrock/aws4_request"
    if credential != f"{ACCESS}/{scope}":
        return f"the scope {credential}"
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs((datetime.now(UTC) - at).total_seconds()) > 300:
        return "the time"
    signed = names.split(";")
    must = {"host", "x-amz-date", "content-type"} | ({"x-amz-security-token"} if token else set())
    if signed != sorted(signed) or not must <= set(signed) or seen.headers.get("x-amz-security-token") != token:
        return f"the signed headers {names}"
    lines = [f"{name}:{' '.join(seen.headers[name].split())}\n" for name in signed]
    digest = hashlib.sha256(seen.body).hexdigest()
    canonical = "\n".join([seen.method, _encoded(seen.path), "", "".join(lines), names, digest])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (stamp[:8], REGION, "bedrock", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return "" if hmac.digest(key, to_sign.encode(), "sha256").hex() == signature else "the signature"


def _encoded(path: str) -> str:
    """The canonical URI: the path as it was sent, every segment encoded once more (all services but S3)."""
    plain = re.compile(r"[A-Za-z0-9\-._~/]")
    return "".join(letter if plain.fullmatch(letter) else f"%{ord(letter):02X}" for letter in path)


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of the event stream, with its two checksums."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    head = prelude + struct.pack("!I", binascii.crc32(prelude))
    return (whole := head + packed + payload) + struct.pack("!I", binascii.crc32(whole))


def chunk(event: bytes) -> bytes:
    """An event of the model's, as Bedrock wraps it: base64 in JSON, and padding against who measures lengths."""
    payload = json.dumps({"bytes": base64.b64encode(event).decode(), "p": "abcdefghijk"}).encode()
    kind = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return frame(kind, payload)


def exception(kind: str, message: str, **more: Any) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message, **more}).encode())


def last(event: bytes) -> bytes:
    """The last event, with Bedrock's measurements in it."""
    return msgspec.json.encode({**json.loads(event), "amazon-bedrock-invocationMetrics": METRICS})


def event_stream(events: Sequence[bytes], *, split: int = 0, then: bytes = b"", **more: Any) -> Play:
    """Events as Bedrock streams them, `then` anything; written in pieces of `split` bytes, or frame by frame."""
    frames = [chunk(last(event) if b'"message_stop"' in event else event) for event in events]
    if then:
        frames.append(then)
    if split:
        data = b"".join(frames)
        frames = [data[at : at + split] for at in range(0, len(data), split)]
    return Play(frames=tuple(frames), content_type=STREAM, framing="chunked", **more)


def trouble(status: int, kind: str, message: str) -> Play:
    """A refusal in Bedrock's own shape."""
    return plain({"message": message}, status=status, headers=(("x-amzn-errortype", f"{kind}:http://internal/"),))
