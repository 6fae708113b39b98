"""The clients that ride, each in a process of its own, and what each can do here.

The rule: a client's cell says yes when its driver did the thing and nothing was wrong, and its bill is right when every
answer that the upstream gave it has one receipt with the same usage and its exact price.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.conformance.answers import THOUGHT
from tests.conformance.ground import CLAUDE, HERE, NODE, PYTHON
from tests.conformance.house import MODEL, Bill, House

FEATURES: Final = ("plain", "stream", "tools", "errors", "count_tokens", "models", "batches")
DRIVERS: Final = HERE / "drivers"
RIDE_S: Final = 400


class Client(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    driver: str
    without_network: bool = False
    """Whether it may run only where there is no network but loopback."""
    absent: Mapping[str, str] = {}
    """Features that it does not have, with the reason."""


CLIENTS: Final = (
    Client(name="Python SDK", driver="python_sdk.py"),
    Client(name="TypeScript SDK", driver="typescript_sdk.mjs"),
    Client(name="Claude Code", driver="claude_code.py", without_network=True),
    Client(name="LangChain", driver="langchain_chat.py"),
    Client(name="pydantic-ai", driver="pydantic_agent.py"),
    Client(name="Vercel AI SDK", driver="vercel_ai.mjs"),
)


class Ride(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one client."""

    client: str
    version: str = ""
    cells: dict[str, str] = {}
    """By feature: "yes", "no", "not served" here; a feature that the client does not have is missing."""
    faults: tuple[str, ...] = ()
    bill: Bill | None = None
    skipped: str = ""
    """Why it did not ride at all."""


async def ride(house: House, client: Client, folder: Path, *, missing: Mapping[str, str], isolated: bool) -> Ride:
    """Let one client do all it can."""
    on_node = client.driver.endswith(".mjs") or client.without_network
    if on_node and "node" in missing:
        return Ride(client=client.name, skipped=missing["node"])
    if client.without_network and not isolated:
        return Ride(client=client.name, skipped="no network namespace can be made here, and it runs in nothing less")
    wallet = client.name.lower().replace(" ", "-")
    rider, poor = await house.rider(wallet), await house.rider(f"{wallet}-poor", "0")
    home = folder / wallet
    home.mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "FARE_URL": house.gate.base_url,
        "FARE_KEY": rider.key,
        "FARE_POOR_KEY": poor.key,
        "FARE_MODEL": MODEL,
        "FARE_CLAUDE": str(CLAUDE / "bin" / "claude.exe"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    lines = await _driven(client.driver, environ)
    faults = [f"{line['feature']}: {line['said']}" for line in lines if line.get("ok") is False]
    cells = {line["feature"]: _cell(line) for line in lines if "feature" in line}
    faults += [line["fault"] for line in lines if "fault" in line]
    faults += thoughts_changed(rider.log())
    version = next((line["version"] for line in lines if "version" in line), "")
    return Ride(client=client.name, version=version, cells=cells, faults=tuple(faults), bill=await rider.bill())


def _cell(line: dict[str, Any]) -> str:
    return "not served" if line.get("served") is False else "yes" if line["ok"] else "no"


def thoughts_changed(log: list[Any]) -> list[str]:
    """Thoughts that came back to the upstream otherwise than it had signed them."""
    blocks = [
        block
        for seen in log
        for message in seen.document.get("messages", ())
        for block in (message["content"] if isinstance(message["content"], list) else ())
    ]
    return [f"a thought came back as {block}" for block in blocks if block["type"] == "thinking" and block != THOUGHT]


async def _driven(driver: str, environ: dict[str, str]) -> list[dict[str, Any]]:
    command, cwd = (str(PYTHON), str(DRIVERS / driver)), DRIVERS
    if driver.endswith(".mjs"):
        for file in DRIVERS.glob("*.mjs"):  # Node looks for packages from where a module is.
            shutil.copy(file, NODE / file.name)
        command, cwd = ("node", str(NODE / driver)), NODE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environ, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(RIDE_S):
            printed, complained = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return [{"fault": f"not done after {RIDE_S} s"}]
    lines = [json.loads(line) for line in printed.decode().splitlines() if line.startswith("{")]
    if process.returncode:
        lines.append({"fault": f"exit {process.returncode}: {complained.decode()[-600:]}"})
    return lines
