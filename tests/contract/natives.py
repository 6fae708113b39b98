"""What tests of upstreams' own batches share: a whole gateway whose one route leads to a peer that has batches."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from faregate.proxy import native_batches, native_run
from tests.contract.batches import GOOD
from tests.gateway import MODEL, UPSTREAM_KEY, Gate, running
from tests.upstreams.batch_peer import BatchPeer, succeeded

THEIRS = "their-own-name"


def good(custom_id: str, params: dict[str, Any]) -> dict[str, Any]:
    assert params["model"] == THEIRS
    return succeeded(GOOD)


def hasten(monkeypatch: Any) -> None:
    """Let nobody wait."""
    monkeypatch.setattr(native_run, "POLL_S", 0.01)
    monkeypatch.setattr(native_run, "REST_MS", 10)
    monkeypatch.setattr(native_batches, "FAILED_S", 0.01)
    monkeypatch.setattr(native_batches, "BRING_S", 0)


@contextlib.asynccontextmanager
async def native(
    folder: Path, peer: BatchPeer, *, entry: str = "batches = true\n", toml: str = "", node: str = "main"
) -> AsyncIterator[Gate]:
    server = peer.server
    await server.start()
    route = (
        f'[[upstreams]]\nname = "native"\nkind = "anthropic"\nbase_url = "{server.base_url}"\n'
        f'api_key_env = "UPSTREAM_KEY"\nmodels = {{ "{MODEL}" = "{THEIRS}" }}\n{entry}'
        f'[[routes]]\nmodel = "{MODEL}"\nupstreams = ["native"]\naliases = ["my-own-name"]\n'
    )
    environ = {"UPSTREAM_KEY": UPSTREAM_KEY, "FAREGATE_SERVER_NODE": node}
    try:
        async with running(folder, toml=route + toml, environ=environ) as gate:
            yield gate
    finally:
        await server.stop()
