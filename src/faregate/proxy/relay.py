"""The relay: upstream's stream to the caller, whole frames as they come, until it ends or the caller does.

No task is woken for a piece: it goes from upstream's socket to the caller's in one call. A slow caller slows upstream:
once it does not keep up, nothing more is taken before what was read is on its way. When upstream says nothing for
PING_S, a `ping` fills the gap; it is the only event that we ever add, and it stands between frames, never in one.
"""

import asyncio
from typing import Final

from faregate.core.meter import Progress
from faregate.proxy.attempts import Reply
from faregate.proxy.port import Caller
from faregate.proxy.replay import Copy
from faregate.upstreams.port import Fault

PING_S: Final = 10.0
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


async def relay(caller: Caller, reply: Reply, copy: Copy | None = None) -> None:
    """Pass the stream on, and into `copy`.

    Afterwards `reply.meter.progress` says how it ended; RUNNING means that the caller left.
    """
    stream, answer = reply.stream, reply.answer
    assert stream is not None
    pulse = _Pulse(caller)
    meter, feed, send, now = stream.meter, stream.feed, caller.send, pulse.now

    def take(piece: bytes) -> bool:
        if data := feed(piece):
            if copy is not None:
                copy.add(data)
            send(data)
            pulse.last = now()
        return caller.keeps_up and meter.progress is Progress.RUNNING

    try:
        if copy is not None:
            copy.add(reply.first)
        send(reply.first)
        while True:
            await caller.drain()
            if meter.progress is not Progress.RUNNING or caller.gone:
                return
            try:
                if await answer.pour(take):
                    stream.end()
            except Fault:
                if not caller.gone:
                    stream.end()
                return
    finally:
        pulse.stop()


def completed(copy: Copy | None, reply: Reply) -> Copy | None:
    """The copy, with what goes to the caller only when the charge is written."""
    if copy is not None:
        copy.add(reply.body if reply.stream is None else reply.stream.tail)
    return copy


class _Pulse:
    """Sends a ping when nothing has gone to the caller for PING_S. One timer a stream, however many events it has."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.last = self.now()
        """When something last went to the caller."""
        self._timer = self._loop.call_later(PING_S, self._check)

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        idle_s = self.now() - self.last
        if idle_s >= PING_S:
            if self._caller.keeps_up:
                self._caller.send(PING)
            self.last = self.now()
            idle_s = 0.0
        self._timer = self._loop.call_later(PING_S - idle_s, self._check)
