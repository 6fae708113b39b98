"""A whole gateway on loopback for tests: the app as it is shipped, a real database, a scripted upstream, real sockets.

async with running(tmp_path) as gate:
    key = await gate.key(quota="100")
    answer = await gate.post("/v1/messages", key, body)
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from faregate import app, settings
from faregate.core.ledger import Receipt
from faregate.core.pricing import PriceVersion
from faregate.edge import desk, forms
from faregate.edge.listen import listen
from faregate.stopping import Server
from faregate.store import postgres, sqlite
from faregate.store.database import Connection
from faregate.upstreams.script import Script
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.wire import sse
from tests.postgres import URL

MODEL = "claude-haiku-4-5"
UPSTREAM_KEY = "sk-upstream-secret-0123456789"
PATIENT = "[breaker]\nfailures_max = 10_000\nshare_percent = 100\n"
"""Or a claim about one failure would depend on how many there were before it."""
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello there"}]}


def ask(**fields: Any) -> dict[str, Any]:
    return {**ASK, **fields}


class Streamed:
    """A streamed answer, read to its end."""

    def __init__(self, status: int, headers: httpx2.Headers, body: bytes) -> None:
        self.status_code = status
        self.headers = headers
        self.body = body
        self.events = [json.loads(frame.data) for frame in sse.frames(body) if frame.data]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def id(self) -> str:
        return str(self.events[0]["message"]["id"])


class Gate:
    def __init__(
        self, running: app.Running, base_url: str, upstream: ScriptedServer, client: httpx2.AsyncClient
    ) -> None:
        self.running = running
        self.base_url = base_url
        self.upstream = upstream
        self.client = client

    async def wallet(self, name: str, amount: str = "1000000") -> str:
        made = await desk.wallet_create(self.running.desk, desk.Asked(form=forms.NewWallet(name=name)))
        if amount != "0":
            topup = forms.NewTopup(amount=amount, reference=f"first-{name}")
            await desk.wallet_topup(self.running.desk, desk.Asked(name=name, form=topup))
        return made.id

    async def key(self, wallet: str = "main", credits: str = "1000000", **limits: Any) -> str:  # noqa: A002
        """A new key; its wallet is opened with so many credits when it is not there."""
        with contextlib.suppress(Exception):
            await self.wallet(wallet, credits)
        issued = await desk.key_create(self.running.desk, desk.Asked(form=forms.NewKey(wallet=wallet, **limits)))
        return issued.key

    async def post(self, path: str, key: str | None, body: Any, **headers: str) -> httpx2.Response:
        return await self.client.post(path, content=_bytes(body), headers=_headers(key, headers))

    async def get(self, path: str, key: str | None = None, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers=_headers(key, headers))

    async def message(self, key: str, body: Any = ASK, **headers: str) -> httpx2.Response:
        return await self.post("/v1/messages", key, body, **headers)

    async def stream(self, key: str, body: Any = ASK, **headers: str) -> Streamed:
        body = {**body, "stream": True}
        async with self.client.stream(
            "POST", "/v1/messages", content=_bytes(body), headers=_headers(key, headers)
        ) as answer:
            return Streamed(answer.status_code, answer.headers, await answer.aread())

    async def receipt(self, key: str, message_id: str) -> dict[str, Any]:
        answer = await self.get(f"/v1/receipts/{message_id}", key)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def receipts(self, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.get("/v1/usage?limit=1000", key)).json()["data"]
        return found

    async def settled(self, key: str, count: int = 1) -> list[dict[str, Any]]:
        """Receipts, once so many calls have ended."""
        async with asyncio.timeout(20):
            while True:
                found = await self.receipts(key)
                if len([receipt for receipt in found if receipt["state"] in ("settled", "released")]) >= count:
                    return found
                await asyncio.sleep(0.01)

    async def books(self, wallet: str = "main") -> tuple[int, int]:
        """(posted, held) in nanodollars; and the audit must be clean."""
        findings = await self.running.store.office.audit()
        assert [finding for finding in findings if finding.count] == []
        found = await self.running.store.office.wallet_find(wallet)
        return found.posted, found.held

    def price(self, model: str = MODEL) -> PriceVersion:
        price = self.running.gate.prices.price(model, self.running.gate.now_ms())
        assert price is not None
        return price

    async def record(self, key: str, message_id: str) -> Receipt:
        """The receipt as the ledger has it, in nanodollars."""
        found = await self.running.gate.keys.find(key)
        assert found is not None
        receipt = await self.running.gate.records.receipt(found.wallet_id, message_id)
        assert receipt is not None
        return receipt


@contextlib.asynccontextmanager
async def running(
    folder: Path, *, script: Script | None = None, toml: str = "", environ: dict[str, str] | None = None
) -> AsyncIterator[Gate]:
    """Start it all, and stop it all."""
    async with wired(folder, script=script, toml=toml, environ=environ) as (gateway, upstream):
        with listen("127.0.0.1", 0, setting="server") as listener:
            server = Server(gateway.door, listener, drain_s=60)
            serving = asyncio.create_task(server.serve())
            base_url = app.base_url(listener)
            try:
                async with httpx2.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as client:
                    yield Gate(gateway, base_url, upstream, client)
            finally:
                server.should_exit = True
                await serving


@contextlib.asynccontextmanager
async def wired(
    folder: Path, *, script: Script | None = None, toml: str = "", environ: dict[str, str] | None = None
) -> AsyncIterator[tuple[app.Running, ScriptedServer]]:
    """All but the listening: a wired gateway and its scripted upstream."""
    upstream = ScriptedServer(script)
    await upstream.start()
    file = folder / "faregate.toml"
    file.write_text(
        f'[[upstreams]]\nname = "fake"\nkind = "anthropic"\nbase_url = "{upstream.base_url}"\n'
        f'api_key_env = "UPSTREAM_KEY"\n[log]\nlevel = "error"\n{"" if "[breaker]" in toml else PATIENT}{toml}'
    )
    environ = {
        "FAREGATE_HOME": str(folder / "home"),
        "UPSTREAM_KEY": UPSTREAM_KEY,
        **_database(folder),
        **(environ or {}),
    }
    try:
        async with app.gateway(settings.load(environ, folder=folder, file=file)) as gateway:
            yield gateway, upstream
    finally:
        await upstream.stop()


@contextlib.contextmanager
def looking(folder: Path) -> Iterator[Connection]:
    """Read a gateway's ledger beside it, on a connection of one's own that cannot write."""
    url = _database(folder).get("FAREGATE_DATABASE_URL")
    ledger: Any = postgres.connect(url, reads=True) if url else sqlite.reader(folder / "home" / "faregate.db")
    with contextlib.closing(ledger):
        yield ledger


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


def _headers(key: str | None, more: dict[str, str]) -> dict[str, str]:
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    if key is not None:
        headers["x-api-key"] = key
    return headers | {name.replace("_", "-"): value for name, value in more.items()}


def _database(folder: Path) -> dict[str, str]:
    """Where a folder stands for a database of PostgreSQL: its URL."""
    url = folder / URL
    return {"FAREGATE_DATABASE_URL": url.read_text()} if url.exists() else {}
