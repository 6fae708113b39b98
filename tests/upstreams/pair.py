"""A scripted server and a transport for one test; afterwards nothing of either is left."""

import asyncio
from typing import Any

import pytest

from faregate.upstreams.pool import Limits
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import Reply, Timeouts
from faregate.upstreams.script import Script
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import open_sockets, post, until, whole

LONG = Timeouts(connect=60, first_byte=60, first_byte_plain=60, idle=60, total=60)


class Pair:
    """A server and a client; afterwards nothing of either is left."""

    def __init__(self, script: Script | None = None, *, timeouts: Timeouts = LONG, **limits: Any) -> None:
        self.server = ScriptedServer(script)
        self.transport = Transport(timeouts=timeouts, limits=Limits(**limits))

    async def __aenter__(self) -> "Pair":
        self._sockets = open_sockets()
        await self.server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.transport.aclose()
        await self.server.stop()
        await until(lambda: open_sockets() == self._sockets)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def post(self, body: bytes | None = None) -> Reply:
        return await post(self.transport, self.server.base_url, body)

    async def fault(self) -> FaultKind:
        with pytest.raises(Fault) as caught:
            await whole(await self.post())
        return caught.value.kind
