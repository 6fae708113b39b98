"""One gateway process: `faregate serve` as it is shipped, started, killed and started again on the same home.

One rule: it is never asked how it is; it is there when it prints its address, and gone when its process is. What it
runs is the source that its test has imported, and not what happens to be installed.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it carries no types

import faregate

ROOT = Path(__file__).parents[2]
SOURCE = Path(faregate.__file__).parents[1]
START_S_MAX = 60.0
STOP_S_MAX = 120.0
ADMIN_TOKEN = "proof-of-the-operator-0123456789"
UPSTREAM_KEY = "sk-upstream-0123456789"

_ADDRESS = re.compile(r"Faregate is at\s+(http://\S+)")


class Refused(Exception):
    """The gateway, or a command of its, did not do what it was asked; says what it said."""


class Replica:
    def __init__(self, home: Path, *, upstream: str, database_url: str | None, node: str | None = None) -> None:
        """A `node` of its own takes over at each start what it had left open; else its lease must run out."""
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.url: str | None = None
        """Where it takes calls; None while it does not."""
        self.lives = 0
        self._config = home / "faregate.toml"
        named = f'node = "{node}"\n' if node and database_url else ""
        self._config.write_text(
            f'[server]\nport = 0\n{named}[admin]\nport = 0\n[log]\nlevel = "warning"\n[[upstreams]]\nname = "fake"\n'
            f'kind = "anthropic"\nbase_url = "{upstream}"\napi_key_env = "UPSTREAM_KEY"\n'
        )
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(ROOT)]),
            "FAREGATE_HOME": str(home),
            "UPSTREAM_KEY": UPSTREAM_KEY,
            "FAREGATE_ADMIN_TOKEN": ADMIN_TOKEN,
        }
        if database_url is not None:
            self.environ["FAREGATE_DATABASE_URL"] = database_url
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        return self.home / "gateway.log"

    async def start(self, point: tuple[str, int] | None = None) -> bool:
        """Begin a life, where wanted one that ends itself at a named point; False when it ended before it served."""
        how = ["tests.faults.launch", point[0], str(point[1])] if point else ["faregate"]
        with self.log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *how, "serve", "--config", str(self._config),
                env=self.environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.lives += 1
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_S_MAX):
                while line := await process.stdout.readline():
                    if found := _ADDRESS.search(line.decode()):
                        self.url = found[1]
                        break
        except TimeoutError:
            raise Refused(f"the gateway did not serve within {START_S_MAX} s; see {self.log}") from None
        if self.url is None:
            code = await process.wait()
            if code != -9:
                said = self.log.read_text()[-2_000:]
                raise Refused(f"the gateway ended with {code} before it served: {said}")
        return self.url is not None

    async def ended(self, within_s: float) -> bool:
        """Wait for its own end."""
        assert self._process is not None
        try:
            await asyncio.wait_for(self._process.wait(), within_s)
        except TimeoutError:
            return False
        self.url = None
        return True

    async def kill(self) -> None:
        """SIGKILL. Safe to repeat."""
        self.url = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
            self._process = None

    async def stop(self) -> None:
        """SIGTERM, and no more calls from here on. Raises Refused when it does not end well."""
        assert self._process is not None
        self.url = None
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.communicate(), STOP_S_MAX)
        except TimeoutError:
            raise Refused(f"the gateway did not stop within {STOP_S_MAX} s; see {self.log}") from None
        code, self._process = self._process.returncode, None
        if code != 0:
            raise Refused(f"the gateway ended with {code} when it was told to stop; see {self.log}")

    def admin_url(self) -> str:
        """Where it takes its operator's commands: the other port that it listens on."""
        assert self._process is not None and self.url is not None
        listening = psutil.Process(self._process.pid).net_connections(kind="inet")
        ports = {at.laddr.port for at in listening if at.status == psutil.CONN_LISTEN}
        (port,) = ports - {int(self.url.rpartition(":")[2])}
        return f"http://127.0.0.1:{port}"

    async def command(self, *words: str) -> str:
        """A command of the command line, on the same data. Raises Refused with what it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "faregate", "--config", str(self._config), *words,
            env=self.environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            raise Refused(f"faregate {' '.join(words)}: {(out + err).decode()}")
        return out.decode()
