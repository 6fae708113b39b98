"""How soon an upstream is stopped when a caller leaves: the contract says within a second.

    python -m bench.hangups [--calls N]

A shipped gateway in a process of its own, a scripted upstream in this one, and callers on bare sockets who leave in
each way at each point. What is measured is from the caller's leaving to the end of upstream's connection, on one clock.
"""

import argparse
import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.gateways import FAREGATE
from bench.loads import BODY
from bench.processes import announced, process
from faregate.upstreams.script import End, Play, events, frames_of
from faregate.upstreams.scripted_server import ScriptedServer

PATIENCE_S = 30.0
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "word " * 400}], "usage": {"input_tokens": 9, "output_tokens": 400},
}  # fmt: skip
FRAMES = frames_of(MESSAGE, 200)
POINTS = {
    "before the first byte": (Play(ending=End.STALL, raw=b""), 0),
    "in a silent stream": (events(FRAMES, ending=End.STALL, ending_after=20), 20),
    "in a flowing stream": (events(FRAMES, gap_ms=5), 20),
}
LEAVES = ("close", "half-close", "reset")


async def one(server: ScriptedServer, base_url: str, request: bytes, frames: int, how: str) -> float:
    """One call that is left, in seconds until upstream saw it."""
    loop = asyncio.get_running_loop()
    host, port = base_url.removeprefix("http://").split(":")
    last = server.log[-1].index if server.log else -1
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(PATIENCE_S):
        came = b""
        while came.count(b"event: ") < frames:
            came += await reader.read(65_536)
        while not server.log or server.log[-1].index == last:  # noqa: ASYNC110  # a request has no event
            await asyncio.sleep(0.001)
        left_at = loop.time()
        if how == "half-close":
            writer.write_eof()
        elif how == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.close()
        seen = server.log[-1]
        while seen.ended_at is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert seen.hung_up, "upstream had ended by itself"
    writer.close()
    return seen.ended_at - left_at


async def measure(server: ScriptedServer, base_url: str, request: bytes, calls: int) -> int:
    """Print one table; how many were not stopped within a second."""
    late = 0
    print(f"{'caller leaves':<24}{'by':<12}{'calls':>7}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for point, (play, frames) in POINTS.items():
        server.play([play] * calls * len(LEAVES))
        for how in LEAVES:
            took = sorted([await one(server, base_url, request, frames, how) for _ in range(calls)])
            late += sum(seconds > 1 for seconds in took)
            shown = (took[calls // 2], took[int(calls * 0.99)], took[-1])
            print(f"{point:<24}{how:<12}{calls:>7}" + "".join(f"{seconds * 1e3:>9.2f}" for seconds in shown))
    return late


def request_of(environ: dict[str, str]) -> bytes:
    """A call with a key of its own."""
    create = [*FAREGATE, "wallet", "create", "bench", "--credits", "1000000000", "--json"]
    subprocess.run(create, env=environ, check=True, stdout=subprocess.DEVNULL)
    issue = [*FAREGATE, "key", "create", "--wallet", "bench", "--json"]
    made = subprocess.run(issue, env=environ, check=True, capture_output=True)
    body = json.dumps({**BODY, "stream": True}).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {json.loads(made.stdout)['key']}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    """Measure, and fail where the promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, help="at each point, in each way")
    options = parser.parse_args()
    if options.calls < 1:
        parser.error("--calls is at least 1")
    # Not uvloop: its clock counts milliseconds.
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        server = ScriptedServer()
        runner.run(server.start())
        environ = {**os.environ, "FAREGATE_HOME": folder, "UPSTREAM_KEY": "unused"}
        config = Path(folder, "faregate.toml")
        config.write_text(
            '[server]\nport = 0\n[log]\nlevel = "error"\n[limits]\nabandon_budget = "unlimited"\n[[upstreams]]\n'
            f'name = "scripted"\nkind = "anthropic"\nbase_url = "{server.base_url}"\napi_key_env = "UPSTREAM_KEY"\n'
        )
        serve = [*FAREGATE, "serve", "--config", str(config)]
        with process(serve, stdout=subprocess.PIPE, env=environ) as child:
            base_url = announced(child, "Faregate is at")
            late = runner.run(measure(server, base_url, request_of(environ), options.calls))
            audit = subprocess.run([*FAREGATE, "audit"], env=environ, check=False, stdout=subprocess.DEVNULL)
        runner.run(server.stop())
    print(f"later than 1 s: {late}; audit: {'clean' if audit.returncode == 0 else 'NOT CLEAN'}")
    if late or audit.returncode:
        sys.exit(1)


if __name__ == "__main__":
    main()
