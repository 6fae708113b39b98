"""The command line as an operator has it: a data folder of the test's own, and what a command wrote."""

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from faregate import home
from faregate.cli import main
from faregate.cli.door import catalog_of, desk
from faregate.edge.admin import admin_app
from faregate.edge.listen import listen_for_owner
from faregate.settings import Settings, load
from faregate.store.store import Store


class Ran:
    """One command that has ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder; the environment says nothing else."""
    for name in ("ANTHROPIC_API_KEY", "FAREGATE_CONFIG", "FAREGATE_DATABASE_URL", "FAREGATE_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAREGATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def faregate(folder: Path) -> Run:
    """Run a command in this process."""

    def run(*arguments: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(arguments)
        return Ran(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def served(folder: Path) -> Iterator[Settings]:
    """A server that owns the database and answers at the owner's socket, in a thread of its own."""
    settings = load({"FAREGATE_HOME": str(folder)}, folder=folder.parent)
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(settings, ready, stop)))
    thread.start()
    try:
        assert ready.wait(30)
        yield settings
    finally:
        stop.set()
        thread.join(30)


async def _serve(settings: Settings, ready: threading.Event, stop: threading.Event) -> None:
    home.prepare(settings)
    catalog = catalog_of(settings)
    opening = Store.open(settings.database, pepper=home.pepper(settings), prices=catalog.prices())
    async with opening as store:
        with listen_for_owner(settings.socket) as listener:
            app = admin_app(desk(store, catalog), token=None)
            server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            ready.set()
            await asyncio.to_thread(stop.wait)
            server.should_exit = True
            await serving
        settings.socket.unlink(missing_ok=True)
