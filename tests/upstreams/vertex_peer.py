"""A Vertex on loopback, and Google's token endpoint beside it, which checks each assertion against the account's key.

Method: the key pair is made here; what google-auth signs is verified with its public half, and a call is answered only
with a token that was given for it. The model behind it is the scripted upstream's mimic.
"""

import base64
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from faregate.upstreams.mimic import Mimic
from faregate.upstreams.script import Play, Seen, plain

EMAIL = "gate@fare-project.iam.gserviceaccount.com"
PROJECT, REGION = "fare-project", "europe-west1"

_PATH = re.compile(rf"/v1/projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models/([^/:]+):(\w+)")
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TokenEndpoint:
    """A script of the scripted server. Gives `token-1`, `token-2` and so on, each good for `lasts_s`."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.lasts_s = 3600
        self.plays: list[Play] = []

    def __call__(self, seen: Seen) -> Play:
        if self.plays:
            return self.plays.pop(0)
        form = parse_qs(seen.body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        signed, _, signature = form["assertion"][0].rpartition(".")
        _KEY.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        claims = json.loads(_decoded(signed.split(".")[1]))
        assert claims["iss"] == EMAIL and claims["aud"].endswith("/token")
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        assert claims["iat"] <= time.time() + 1 < claims["exp"]
        self.given.append(f"ya29.token-{len(self.given) + 1}")
        return plain({"access_token": self.given[-1], "expires_in": self.lasts_s, "token_type": "Bearer"})


class Peer:
    """A script of the scripted server. `plays` come first, one per call whose token is good; None is the usual one."""

    def __init__(self, tokens: TokenEndpoint) -> None:
        self.plays: list[Play | None] = []
        self.models: list[str] = []
        self.seen: list[Seen] = []
        self.answers: list[Play] = []
        """The usual ones."""
        self._tokens = tokens
        self._mimic = Mimic()

    def __call__(self, seen: Seen) -> Play:
        self.seen.append(seen)
        if seen.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens.given:
            return trouble(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if self.plays and (play := self.plays.pop(0)) is not None:
            return play
        found = _PATH.fullmatch(seen.path)
        assert found is not None, seen.path
        model, verb = unquote(found[1]), found[2]
        asked = dict(seen.document)
        assert asked.pop("anthropic_version") in ("vertex-2023-10-16", "2026-10-21")
        if model == "count-tokens":
            self.models.append(asked["model"])
            return plain({"input_tokens": 34})
        assert "model" not in asked and verb == ("streamRawPredict" if asked.get("stream") else "rawPredict")
        self.models.append(model)
        self.answers.append(self._mimic.answer("/v1/messages", msgspec.json.encode({**asked, "model": model}), seen.at))
        return self.answers[-1]


def trouble(status: int, word: str, message: str, *, listed: bool = False, **more: Any) -> Play:
    """A refusal in Google's own shape; in a list, as it comes where a stream was asked for."""
    document = {"error": {"code": status, "message": message, "status": word}}
    return Play(status=status, frames=(msgspec.json.encode([document] if listed else document),), **more)


def key_file(folder: Path, token_uri: str) -> Path:
    """A service account's key, as Google's console gives it."""
    pem = _KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": pem,
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": token_uri,
    }
    file = folder / "account.json"
    file.write_text(json.dumps(account))
    return file


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
