"""The admin API over a real store in a folder of the test's own, asked through its own app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette

from faregate.core.place import Place
from faregate.edge.admin import admin_app
from faregate.edge.desk import Desk
from faregate.edge.openapi import ROOT
from faregate.settings import Secret
from faregate.shipped import load_catalog
from faregate.store.store import Store

PEPPER = b"p" * 32
NOW = 1_790_000_000_000


class Clock:
    """Time stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_ms = NOW

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


class Admin:
    def __init__(self, client: httpx2.AsyncClient, store: Store, clock: Clock, app: Starlette) -> None:
        self.client, self.store, self.clock, self.app = client, store, clock, app

    async def get(self, path: str, **query: Any) -> Any:
        return (await self.client.get(ROOT + path, params=query)).raise_for_status().json()

    async def post(self, path: str, **form: Any) -> Any:
        return (await self.client.post(ROOT + path, json=form)).raise_for_status().json()

    async def refused(self, method: str, path: str, **content: Any) -> tuple[int, str, str]:
        """Status, code and message of an answer that is an error."""
        answer = await self.client.request(method, ROOT + path, **content)
        body = answer.json()
        assert body["type"] == "error"
        assert answer.headers["request-id"] == body["request_id"]
        return answer.status_code, body["error"]["details"]["error_code"], body["error"]["message"]


@asynccontextmanager
async def admin(folder: Path, token: Secret | None = None, place: Place | None = None) -> AsyncIterator[Admin]:
    catalog, clock = load_catalog(), Clock()

    def model_id(name: str) -> str | None:
        model = catalog.find(name)
        return None if model is None else model.id

    place = place or folder / "books.db"
    opening = Store.open(place, pepper=PEPPER, prices=catalog.prices(), clock=lambda: clock.now_ms)
    async with opening as store:
        desk = Desk(office=store.office, records=store.records, prices=store.prices, models=model_id, now_ms=clock)
        app = admin_app(desk, token=token)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as client:
            yield Admin(client, store, clock, app)
