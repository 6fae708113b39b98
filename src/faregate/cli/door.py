"""How a command comes to the admin API: through the owner's socket when a server runs, else in its own process.

    with Door(settings, writes=True) as door:
        door.post("/wallets", {"name": "demo"})

Both ways end at the same app, so a command cannot do what the API cannot, nor do it differently. What only reads takes
no lock: it works beside a process that owns the database and does not answer.
"""

import asyncio
import contextlib
import socket
import time
from pathlib import Path
from typing import Any, Final

import httpx2
from starlette.applications import Starlette

from faregate import home
from faregate.cli.refusals import Failed, Unsure
from faregate.core.catalog import Catalog
from faregate.core.costs import Cost, Costs
from faregate.edge.admin import admin_app
from faregate.edge.desk import Desk
from faregate.edge.openapi import ROOT
from faregate.settings import Settings, SettingsError
from faregate.shipped import load_catalog
from faregate.store.store import Store

ANSWER_S_MAX: Final = 60
"""An audit of a large ledger takes its time; nothing else comes near."""


class Door:
    """Open while the command runs."""

    def __init__(self, settings: Settings, *, writes: bool) -> None:
        self._settings = settings
        self._writes = writes
        self._runner = asyncio.Runner()
        self._open = contextlib.AsyncExitStack()

    def __enter__(self) -> "Door":
        self._runner.__enter__()
        try:
            self._client = self._runner.run(self._enter())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._open.aclose())
        self._runner.__exit__(None, None, None)

    def get(self, path: str, query: dict[str, Any] | None = None) -> Any:
        """Ask; what is None in the query is left out."""
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        return self._runner.run(self._ask("GET", path, params=asked))

    def post(self, path: str, form: dict[str, Any] | None = None) -> Any:
        """Tell; what is None or empty in the form is left out."""
        told = {name: value for name, value in (form or {}).items() if value not in (None, [])}
        return self._runner.run(self._ask("POST", path, json=told))

    async def _ask(self, method: str, path: str, **content: Any) -> Any:
        try:
            answer = await self._client.request(method, ROOT + path, **content)
        except httpx2.HTTPError as error:
            raise Unsure(f"the server at {self._settings.socket} stopped answering: {error}") from error
        if answer.is_success:
            return answer.json()
        raise (Unsure if answer.is_server_error else Failed)(answer.json()["error"]["message"])

    async def _enter(self) -> httpx2.AsyncClient:
        transport: httpx2.AsyncBaseTransport
        if server_runs(self._settings):
            transport = httpx2.AsyncHTTPTransport(uds=str(self._settings.socket))
        else:
            transport = httpx2.ASGITransport(app=await self._app())
        client = httpx2.AsyncClient(transport=transport, base_url="http://faregate", timeout=ANSWER_S_MAX)
        return await self._open.enter_async_context(client)

    async def _app(self) -> Starlette:
        settings = self._settings
        catalog = catalog_of(settings)
        if self._writes:
            home.prepare(settings)
            opening = Store.open(
                settings.database, pepper=home.pepper(settings), prices=catalog.prices(), serves=runs_alone(settings)
            )
        else:
            opening = Store.open_to_read(settings.database)
        store = await self._open.enter_async_context(opening)
        return admin_app(desk(store, catalog, settings.costs), token=None)


def catalog_of(settings: Settings) -> Catalog:
    """The catalog that a server with these settings would serve from. Raises CatalogError."""
    aliases = {route.model: route.aliases for route in settings.routes}
    return load_catalog(settings.catalog.files).with_aliases(aliases, source="routes")


def desk(store: Store, catalog: Catalog, costs: tuple[Cost, ...] = ()) -> Desk:
    """The admin API's desk over an open store."""

    def model_id(name: str) -> str | None:
        model = catalog.find(name)
        return None if model is None else model.id

    return Desk(
        office=store.office,
        records=store.records,
        prices=store.prices,
        models=model_id,
        costs=Costs(costs, catalog.prices(), models=model_id),
        now_ms=lambda: time.time_ns() // 1_000_000,
    )


def runs_alone(settings: Settings) -> bool:
    """Whether a command that writes owns the database meanwhile: then it also clears up after a process that died."""
    return isinstance(settings.database, Path)


def server_runs(settings: Settings) -> bool:
    """Whether somebody answers at the owner's socket; a file left by a process that died does not.

    On PostgreSQL nobody need: a command is one more client of the database.
    """
    if not isinstance(settings.database, Path):
        return False
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(str(settings.socket))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except PermissionError:
            raise SettingsError(
                f"{settings.socket}: belongs to another user: run this as the user that runs the server"
            ) from None
        return True
