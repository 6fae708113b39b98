"""Faregate as it is shipped, on SQLite and on PostgreSQL, with a wallet and a key: every guarantee on.

One rule: what is measured is a plain `faregate serve` with no setting but its upstream and its database. PostgreSQL is
the tests' server with durable settings, and its CPU is counted apart from the gateway's.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.door import Door, Upstream
from bench.processes import STOP_S, Unready, announced, process

FAREGATE: Final = [sys.executable, "-m", "faregate"]
CREDITS: Final = "1000000000000"

TOML: Final = """\
[server]
port = 0
drain_s = 1
[[upstreams]]
name = "fake"
kind = "anthropic"
base_url = "{url}"
api_key_env = "UPSTREAM_KEY"
{tls}
"""


class Gateway:
    """A running gateway and its command line."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ

    def command(self, *words: str) -> Any:
        """What a command says, as JSON."""
        said = subprocess.run([*FAREGATE, *words, "--json"], env=self._environ, check=True, capture_output=True)
        return json.loads(said.stdout)

    def audit(self) -> bool:
        """Whether the books are clean; if not, what is found is on the terminal."""
        done = subprocess.run([*FAREGATE, "audit"], env=self._environ, check=False, capture_output=True)
        if done.returncode:
            print((done.stdout + done.stderr).decode(errors="replace"), file=sys.stderr)
        return done.returncode == 0


@contextlib.contextmanager
def gateway(to: Upstream, folder: Path, *, name: str, database_url: str = "") -> Iterator[tuple[Door, Gateway]]:
    """Serve from a data folder, which may have been used before."""
    environ = {**os.environ, "FAREGATE_HOME": str(folder), "UPSTREAM_KEY": "unused"}
    if database_url:
        environ["FAREGATE_DATABASE_URL"] = database_url
    with (folder / "gateway.log").open("ab") as log:
        command = [*FAREGATE, "serve", "--config", str(config(to, folder))]
        with process(command, stdout=subprocess.PIPE, stderr=log, env=environ) as child:
            try:
                url, running = announced(child, "Faregate is at"), Gateway(environ)
            except Unready:
                print((folder / "gateway.log").read_text(), file=sys.stderr)
                raise
            yield Door(name, url, pid=child.pid, audit=running.audit), running


def config(to: Upstream, folder: Path) -> Path:
    """The settings file of a data folder."""
    file = folder / "faregate.toml"
    tls = f"ca_file = {json.dumps(to.ca_file)}" if to.ca_file else ""
    file.write_text(TOML.format(url=to.url, tls=tls))
    return file


def with_key(door: Door, running: Gateway, wallet: str = "bench") -> Door:
    """The door, with a key of a new wallet."""
    running.command("wallet", "create", wallet, "--credits", CREDITS)
    return door._replace(headers={"x-api-key": running.command("key", "create", "--wallet", wallet)["key"]})


@contextlib.contextmanager
def sqlite(to: Upstream, folder: Path) -> Iterator[Door]:
    """Faregate on SQLite."""
    with gateway(to, folder, name="faregate-sqlite") as (door, running):
        yield with_key(door, running)


@contextlib.contextmanager
def postgres(to: Upstream, folder: Path) -> Iterator[Door]:
    """Faregate on PostgreSQL."""
    from tests.postgres import Server  # noqa: PLC0415  # its package is of the tests' and large

    with tempfile.TemporaryDirectory(prefix="faregate-pg-", dir="/tmp") as data:  # A socket's path must be short.
        file = Path(data, "data", "postmaster.pid")
        try:
            server = Server(Path(data))
            pid = int(file.read_text().split()[0])
            with gateway(to, folder, name="faregate-postgres", database_url=server.url) as (door, running):
                yield with_key(door._replace(database_pid=pid), running)
        finally:
            _stop(file)


def _stop(file: Path) -> None:
    """Stop the server of a pid file. Whoever is interrupted while it starts has nothing else to know it by."""
    if file.exists():
        os.kill(int(file.read_text().split()[0]), signal.SIGINT)
    deadline = time.monotonic() + STOP_S
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
