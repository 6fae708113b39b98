"""What a call costs in the gateway: CPU per request of its process, and the latency it adds.

    python bench/overhead.py [--requests N] [--concurrency C] [--seconds-max S]

One run, side by side: a scripted upstream, asked directly and through the gateway, each a process of its own. The
gateway is the shipped one with money on: authentication, validation, quote, durable hold, meter, durable settle,
metrics and its access log. Loads: a plain answer, 60 events in one burst, 60 events 20 ms apart.

CPU is user + system time of the gateway's process, from /proc (Linux). Latencies are of this machine and its noise;
compare columns of one run, not runs.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import httptools
import uvloop

BODY = {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": [{"role": "user", "content": "lorem ipsum " * 75}]}
LOADS: dict[str, dict[str, Any]] = {
    "plain": BODY,
    "burst": {**BODY, "stream": True, "metadata": {"user_id": "frames=60;output=60"}},
    "paced": {**BODY, "stream": True, "metadata": {"user_id": "frames=60;output=60;gap_ms=20"}},
}
SHARES = {"plain": 1.0, "burst": 0.5, "paced": 0.1}
"""Of --requests: a paced stream takes more than a second."""

FAREGATE = [sys.executable, "-m", "faregate"]


class Figures(NamedTuple):
    cpu_us: float
    per_s: float
    p50_ms: float
    p99_ms: float
    first_ms: float
    errors: int


class Caller(asyncio.Protocol):
    """One connection that sends the same request again and again, each when the last is answered."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._first: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def call(self) -> tuple[float, float, int]:
        """Seconds to the whole answer and to its first body byte, and its status."""
        loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._done, self._first = loop.create_future(), None
        began = time.perf_counter()
        self._transport.write(self._request)
        status = await self._done
        return time.perf_counter() - began, (self._first or began) - began, status

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, _: bytes) -> None:
        if self._first is None:
            self._first = time.perf_counter()

    def on_message_complete(self) -> None:
        if not self._done.done():
            self._done.set_result(self._parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("closed"))

    def close(self) -> None:
        self._transport.close()


async def load(
    base_url: str, key: str, body: dict[str, Any], *, count: int, concurrency: int, seconds_max: float
) -> tuple[float, list[tuple[float, float, int]]]:
    """Run one load; gives (seconds, [(whole, first, status), ...])."""
    host, port = base_url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n"
    request = f"{head}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
    left, samples = iter(range(count)), list[tuple[float, float, int]]()
    deadline = time.perf_counter() + seconds_max

    async def worker() -> None:
        _, caller = await asyncio.get_running_loop().create_connection(lambda: Caller(request), host, int(port))
        for _ in left:
            if time.perf_counter() > deadline:
                break
            samples.append(await caller.call())
        caller.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return time.perf_counter() - began, samples


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, in seconds; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(base_url: str, key: str, name: str, options: argparse.Namespace, pid: int | None) -> Figures:
    """One load against one door."""
    count = max(options.concurrency, int(options.requests * SHARES[name]))
    concurrency = options.concurrency if name != "paced" else max(50, options.concurrency)
    arguments = (base_url, key, LOADS[name])
    bounds = {"concurrency": concurrency, "seconds_max": options.seconds_max}
    uvloop.run(load(*arguments, count=min(200, count), **bounds))
    before = cpu_s(pid) if pid else 0.0
    elapsed, samples = uvloop.run(load(*arguments, count=count, **bounds))
    used = cpu_s(pid) - before if pid else 0.0
    whole = sorted(sample[0] for sample in samples)
    return Figures(
        cpu_us=used / len(samples) * 1e6,
        per_s=len(samples) / elapsed,
        p50_ms=statistics.median(whole) * 1e3,
        p99_ms=whole[int(len(whole) * 0.99)] * 1e3,
        first_ms=statistics.median(sample[1] for sample in samples) * 1e3,
        errors=sum(sample[2] != 200 for sample in samples),
    )


@contextlib.contextmanager
def process(command: list[str], announces: str, **options: Any) -> Iterator[tuple[int, str]]:
    """Start a process, wait until it prints a base URL, and stop it at the end."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if found := re.search(announces + r"\s*(http://\S+)", line):
                yield child.pid, found[1]
                break
        else:
            sys.exit(f"{' '.join(command)} ended with {child.wait()} before it served")
    finally:
        child.terminate()
        child.wait(30)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seconds-max", type=float, default=60, help="per load")
    options = parser.parse_args()
    if options.requests < 1 or options.concurrency < 1:
        parser.error("--requests and --concurrency are at least 1")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        scripted = [sys.executable, "-m", "faregate.upstreams.scripted", "--port", "0"]
        _, upstream = stack.enter_context(process(scripted, ""))
        environ = {**os.environ, "FAREGATE_HOME": folder, "UPSTREAM_KEY": "unused"}
        config = Path(folder, "faregate.toml")
        config.write_text(
            f'[server]\nport = 0\n[[upstreams]]\nname = "scripted"\nkind = "anthropic"\nbase_url = "{upstream}"\n'
            'api_key_env = "UPSTREAM_KEY"\n'
        )
        with Path(folder, "gateway.log").open("w") as log:
            serve = [*FAREGATE, "serve", "--config", str(config)]
            pid, gateway = stack.enter_context(process(serve, "Faregate is at", env=environ, stderr=log))
            wallet = [*FAREGATE, "wallet", "create", "bench", "--credits", "1000000000", "--json"]
            subprocess.run(wallet, env=environ, check=True, stdout=subprocess.DEVNULL)
            made = subprocess.run(
                [*FAREGATE, "key", "create", "--wallet", "bench", "--json"],
                env=environ,
                check=True,
                capture_output=True,
            )
            key = json.loads(made.stdout)["key"]
            print("load    door        CPU µs    req/s   p50 ms   p99 ms  first ms  errors")
            failed = 0
            for name in LOADS:
                for door, base_url, of in (("direct", upstream, None), ("faregate", gateway, pid)):
                    row = measure(base_url, key, name, options, of)
                    failed += row.errors
                    cpu = f"{row.cpu_us:.0f}" if of else "-"
                    print(
                        f"{name:<8}{door:<10}{cpu:>8}{row.per_s:>9,.0f}{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}"
                        f"{row.first_ms:>10.2f}{row.errors:>8}"
                    )
            audit = subprocess.run([*FAREGATE, "audit"], env=environ, check=False, stdout=subprocess.DEVNULL)
            print(f"audit: {'clean' if audit.returncode == 0 else 'NOT CLEAN'}")
            if failed or audit.returncode:
                sys.exit(1)


if __name__ == "__main__":
    main()
