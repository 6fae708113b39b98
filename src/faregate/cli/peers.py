"""What `faregate doctor` asks an upstream: which models it has, with each of its keys. It is free everywhere.

The rule: a finding names the status and the way out, and never a key or what the answer said, which may quote one.
"""

from typing import Any, Final

import httpx2
import msgspec

from faregate.cli.refusals import Failed
from faregate.settings import Upstream
from faregate.settings.load import ANTHROPIC_URL, OPENAI_URL
from faregate.upstreams.dial import trust
from faregate.upstreams.openai import api_prefix
from faregate.upstreams.origin import check_header, parse_base_url

WAIT_S: Final = 10.0
LISTED_MAX: Final = 1_000

_UNLISTED: Final = (404, 405, 501)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def ask(upstream: Upstream) -> str:
    """Ask an `anthropic` or `openai` upstream for its models. Raises Failed with a finding and the way out."""
    what = f"{upstream.kind} {upstream.base_url}"
    if not upstream.api_keys and upstream.base_url in (ANTHROPIC_URL, OPENAI_URL):
        return f"{what}: not asked, for its key is not in the environment"
    keys: list[str | None] = [key.reveal() for key in upstream.api_keys]
    for place, key in enumerate(keys or [None], start=1):
        which = "its key" if len(keys) < 2 else f"its key {place} of {len(keys)}"
        found = _asked(upstream, key, what, which if key is not None else "a call without a key")
    counted = f", with each of its {len(keys)} keys" if len(keys) > 1 else ""
    return f"{what}: {found}{counted}"


def _asked(upstream: Upstream, key: str | None, what: str, which: str) -> str:
    try:
        answer = _get(upstream, key)
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise Failed(
            f"{what} cannot be reached ({error or type(error).__name__}): look at base_url, proxy and ca_file"
        ) from None
    match answer.status_code:
        case 200:
            return _listed(upstream, answer.content)
        case 401 | 403:
            raise Failed(f"{what} refuses {which} ({answer.status_code}): look at the variable that holds it")
        case 429:
            return "answers, but takes no more calls for now (429)"
        case status if status in _UNLISTED:
            return f"answers {status} where models are listed: it lists none, or base_url has another path"
        case status:
            raise Failed(f"{what} answers {status} when it is asked for its models")


def _get(upstream: Upstream, key: str | None) -> httpx2.Response:
    origin, prefix = parse_base_url(upstream.base_url)
    headers = {"user-agent": "faregate"}
    if upstream.kind == "anthropic":
        path = f"{prefix}/v1/models?limit={LISTED_MAX}"
        headers["anthropic-version"] = "2023-06-01"
    else:
        path = f"{api_prefix(prefix)}/models"
    if key is not None and upstream.auth == "x-api-key":
        headers["x-api-key"] = key
    elif key is not None:
        headers["authorization"] = f"Bearer {key}"
    for name, value in headers.items():
        check_header(name, value)
    client: dict[str, Any] = {"proxy": upstream.proxy, "timeout": WAIT_S, "trust_env": False}
    if origin.secure:
        client["verify"] = trust(str(upstream.ca_file) if upstream.ca_file is not None else None)
    with httpx2.Client(**client) as asking:
        return asking.get(f"{origin.scheme}://{origin.authority}{path}", headers=headers)


def _listed(upstream: Upstream, body: bytes) -> str:
    try:
        names = [model.id for model in msgspec.json.decode(body, type=_Models).data]
    except msgspec.MsgspecError:
        return "answers, with something other than a list of models: look at base_url"
    found = f"answers, and lists {len(names)} model{'s' if len(names) != 1 else ''}"
    missing = [theirs for theirs in upstream.models.values() if theirs not in names]
    # Some servers list what they have loaded and take any name.
    return f"{found}; not among them: {', '.join(missing)}" if missing else found
