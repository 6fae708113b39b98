"""The scripted upstream: an upstream whose every answer, fault and pause is known beforehand. For tests, load and
simulation; it costs nothing and needs no network.

One rule: it goes the whole way. What it says travels over a real socket and through the same adapter and transport as
Anthropic's answers.

    in a config file    kind = "scripted"                               the server runs inside the gateway
    for a benchmark     python -m faregate.upstreams.scripted --port N  the server alone; prints its base URL

`mimic` says what it answers and how a load test steers it; `script` how faults are written.
"""

import argparse
import asyncio
import signal
import sys

import uvloop

from faregate.upstreams.anthropic import Anthropic
from faregate.upstreams.port import Answer, Ask, Fault, FaultKind
from faregate.upstreams.script import Script
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport

API_KEY = "scripted"
"""Sent as any key is; nobody checks it."""


class Scripted:
    """An `Upstream` of the port, with its server in the same process."""

    embedded = False

    def __init__(
        self, *, name: str, transport: Transport, script: Script | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.name = name
        self.server = ScriptedServer(script, host=host, port=port)
        self._transport = transport
        self._adapter: Anthropic | None = None

    async def start(self) -> None:
        await self.server.start()
        self._adapter = Anthropic(
            name=self.name, base_url=self.server.base_url, api_keys=(API_KEY,), transport=self._transport
        )

    async def stop(self) -> None:
        self._adapter = None
        await self.server.stop()

    async def send(self, ask: Ask) -> Answer:
        return await self._started().send(ask)

    async def count_tokens(self, ask: Ask) -> int | None:
        return await self._started().count_tokens(ask)

    def redact(self, text: str) -> str:
        return self._started().redact(text)

    def healthy(self) -> bool:
        return self._adapter is not None and self._adapter.healthy()

    def _started(self) -> Anthropic:
        if self._adapter is None:
            raise Fault(FaultKind.CONNECT, f"the scripted upstream {self.name} has not been started")
        return self._adapter


def main() -> None:
    """Run the server alone until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m faregate.upstreams.scripted", description="A scripted upstream.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.host, arguments.port))


async def _serve(host: str, port: int) -> None:
    server = ScriptedServer(host=host, port=port)
    try:
        await server.start()
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port}: {error.strerror or error}")
    sys.stdout.write(server.base_url + "\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    main()
