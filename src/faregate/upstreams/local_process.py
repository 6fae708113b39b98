"""The embedded model's process: started, watched, started again, and gone when we are.

One rule: while it runs there is a key and an address, and when it ends there is neither until the next one is ready.

    STOPPED ──start()──> STARTING ──its address──> READY ──it ends──> WAITING ──backoff──> STARTING
       ^                    │ it ends: start() raises                    │
       └────────stop()──────┴────────────────────────────────────────────┘

What it says goes nowhere but into the last lines that an error quotes.
"""

import asyncio
import collections
import os
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from faregate.upstreams.local_weights import ModelFailure
from faregate.upstreams.origin import Origin, parse_base_url

_PROGRAM: Final = Path(__file__).with_name("local_server.py")
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
"""All of our environment that it needs. Provider keys are not among it."""

READY_S_MAX: Final = 120.0
STOP_S_MAX: Final = 0.8
BACKOFF_S_FIRST: Final = 0.25
BACKOFF_S_MAX: Final = 30.0
STEADY_S: Final = 60.0
"""Up for this long, and the next restart does not wait for the sake of earlier ones."""
LAST_LINES: Final = 12
QUOTED_LINES: Final = 2
LINE_CHARS_MAX: Final = 300
_PIPE_BYTES: Final = 16_384

_MEMORY_SIGNS: Final = (
    "insufficient memory",
    "failed to allocate",
    "bad_alloc",
    "MemoryError",
    "Resource temporarily unavailable",
)
_KILLED: Final = -9
_STAMP: Final = re.compile(r"^[\d.]+ [A-Z] ")
"""The library's time and level."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the machine it may take."""

    slots: int = 4
    """Calls that are generated at the same time."""
    slot_tokens: int = 8_192
    """Prompt and answer of one call."""
    threads: int = 1
    """For generation: with two of two busy, it falls to a third."""
    batch_threads: int = 2
    """For reading prompts."""
    batch_tokens: int = 128
    """A prompt is read in pieces of this many: about half a second each, and a hang-up is noticed between two."""
    cache_mib: int = 256
    """Prefixes kept beside those in the slots."""
    http_threads: int = 64
    memory_mib_max: int = 4_096
    """Address space; 0 is no limit. It runs in 0.9 GiB, and what a request makes it take must not hurt the machine."""


class Running(msgspec.Struct, frozen=True):
    """One life of the process."""

    process: asyncio.subprocess.Process
    origin: Origin
    key: str
    since: float
    listen: asyncio.Task[None]
    """Takes what it says."""


class ModelProcess:
    """Belongs to the event loop that starts it. `log` takes a sentence and fields, as structlog's loggers do."""

    def __init__(self, *, sizes: Sizes, log: Any) -> None:
        self._sizes = sizes
        self._log = log
        self._model: Path | None = None
        self._watch: asyncio.Task[None] | None = None
        self._last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self.running: Running | None = None
        """None while it is not ready."""
        self.starts = 0

    async def start(self, model: Path) -> None:
        """Run it and wait until it is ready. Raises ModelFailure, with its last words."""
        assert self._watch is None, "one process at a time"
        self._model = model
        self.running = await self._spawn()
        self._watch = asyncio.create_task(self._keep(self.running), name="model process")

    async def stop(self) -> None:
        """End it, within a second. Safe to repeat."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        running, self.running = self.running, None
        if running is not None:
            await _end(running.process, running.listen)

    async def _keep(self, running: Running) -> None:
        """Start it again whenever it ends."""
        backoff_s = BACKOFF_S_FIRST
        while True:
            code = await running.process.wait()
            self.running = None
            if time.monotonic() - running.since >= STEADY_S:
                backoff_s = BACKOFF_S_FIRST
            said = " | ".join([*self._last][-QUOTED_LINES:])
            self._log.warning("the offline model ended and is started again", exit=code, wait_s=backoff_s, said=said)
            while self.running is None:
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
                try:
                    running = self.running = await self._spawn()
                except (ModelFailure, OSError) as failure:
                    self._log.error("the offline model did not start", reason=str(failure), wait_s=backoff_s)
            self._log.info("the offline model is ready again")

    async def _spawn(self) -> Running:
        self._last.clear()
        self.starts += 1
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_PROGRAM),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            # Ctrl-C in a terminal goes to the whole group: it is ours to end, after the calls that it serves.
            start_new_session=True,
        )  # fmt: skip
        assert process.stderr is not None
        listen = asyncio.create_task(self._listen(process.stderr), name="model process's words")
        try:
            async with asyncio.timeout(READY_S_MAX):
                return await self._greet(process, listen)
        except TimeoutError:
            await _end(process, listen)
            raise ModelFailure(f"the offline model was not ready within {READY_S_MAX:g} s{self._quoted()}") from None
        except BaseException:
            await _end(process, listen)
            raise

    async def _greet(self, process: asyncio.subprocess.Process, listen: asyncio.Task[None]) -> Running:
        """Hand over the settings and wait for the address."""
        assert process.stdin is not None and process.stdout is not None
        key = secrets.token_urlsafe(32)
        told = {**msgspec.to_builtins(self._sizes), "model": str(self._model), "key": key, "parent": os.getpid()}
        try:
            process.stdin.write(msgspec.json.encode(told) + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        except ConnectionError:
            line = b""
        if not line:
            code = await process.wait()
            await listen
            raise ModelFailure(self._why(code))
        origin, _ = parse_base_url(msgspec.json.decode(line)["address"])
        return Running(process, origin, key, time.monotonic(), listen)

    async def _listen(self, pipe: asyncio.StreamReader) -> None:
        """Keep its last lines, whatever their length, so that its pipe never fills."""
        rest = ""
        while data := await pipe.read(_PIPE_BYTES):
            *lines, rest = (rest + data.decode(errors="replace"))[-_PIPE_BYTES:].split("\n")
            self._last.extend(line[:LINE_CHARS_MAX] for line in lines if line.strip())
        if rest.strip():
            self._last.append(rest[:LINE_CHARS_MAX])

    def _why(self, code: int) -> str:
        said = "\n".join(self._last)
        if code == _KILLED or any(sign in said for sign in _MEMORY_SIGNS):
            return (
                f"the offline model found not enough memory (it needs about 1 GiB free; its limit is"
                f" {self._sizes.memory_mib_max} MiB of addresses); it ended with {code}{self._quoted()}"
            )
        return f"the offline model ended with {code} before it was ready{self._quoted()}"

    def _quoted(self) -> str:
        """Of lines that are about one failure the first say why."""
        lines = [_STAMP.sub("", line) for line in [*self._last][:QUOTED_LINES]]
        return f"; it said: {' | '.join(lines)}" if lines else ""


async def _end(process: asyncio.subprocess.Process, listen: asyncio.Task[None]) -> None:
    """Close its pipe, which asks it to go; a signal makes it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    await listen
