"""Who calls, and for which model: the part of the story before anything is weighed.

Leaves of `story.serve`, shared with the free endpoints, which walk the same way and stop before the hold.

    authenticate -> Key        read -> document        find_model -> Model
"""

from typing import Any

from faregate.core.access import NO_ACCESS, Key, ip_allowed, judge_active, well_formed
from faregate.core.admission import model_name, refusal
from faregate.core.catalog import Model
from faregate.core.errors import Forbidden, NotFound, Unauthenticated
from faregate.proxy.port import Asker, Gateway
from faregate.wire.request import Malformed, decode


def bearer(caller: Asker) -> str:
    """The key as it was sent: `x-api-key` wins over `Authorization: Bearer`. Raises Unauthenticated without one."""
    key = caller.header(b"x-api-key")
    if key is None or not key.strip():
        scheme, _, key = (caller.header(b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            key = ""
    if not key.strip():
        raise Unauthenticated(NO_ACCESS)
    return key.strip()


async def authenticate(gate: Gateway, caller: Asker) -> Key:
    """Find the caller's key and judge it. Raises Unauthenticated, or Forbidden for its address."""
    written = bearer(caller)
    key = gate.keys.cached(written)
    if key is None:
        key = await gate.keys.find(written) if well_formed(written) else None
    if key is None:
        raise Unauthenticated(NO_ACCESS)
    judge_active(revoked_at_ms=key.revoked_at_ms, expires_at_ms=key.expires_at_ms, now_ms=gate.now_ms())
    if not ip_allowed(key, caller.address):
        raise Forbidden(f"This key may not be used from {caller.address}.", code="ip_not_allowed")
    return key


def read(body: bytes) -> dict[str, Any]:
    """Parse a body. Raises InvalidRequest."""
    try:
        return decode(body)
    except Malformed as error:
        raise refusal(error) from None


def find_model(gate: Gateway, key: Key, document: dict[str, Any]) -> Model:
    """The model that was asked for. Raises InvalidRequest, NotFound, or Forbidden for one outside the key's scope."""
    name = model_name(document)
    model = gate.catalog.find(name)
    if model is None:
        raise NotFound(f"model: {name[:100]}", code="model_not_found")
    if key.models and model.id not in key.models and name not in key.models:
        raise Forbidden(f"model: this key may not use {model.id}. It may use: {', '.join(key.models)}.")
    return model
