"""Lets real clients ride: python -m tests.conformance [--only PART] [--sdk VERSION] [--write], or make conformance.

It installs the clients into .venv/conformance, fetches the source distribution of the newest SDK, and does the rest
in a network namespace that has loopback alone, where one can be made: no client reaches anything but the gateway.

    0   all that rode rode well, and was billed as the upstream's log says       1   something was wrong
    2   it could not begin
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.conformance import clients, golden, ground, sdk_tests
from tests.conformance.house import opened
from tests.conformance.page import Found, page, tables

PARTS: Final = ("clients", "tests", "golden")
PAGE: Final = ground.ROOT / "docs" / "clients.md"
ISOLATED: Final = ("unshare", "--map-root-user", "--net")
LOOPBACK_UP: Final = 'ip link set lo up && exec "$@"'
INSIDE: Final = "FAREGATE_CONFORMANCE"
"""Set for the process in the namespace: what was prepared outside of it, as JSON."""


def main() -> int:
    """Prepare, go inside, ride, print."""
    asked = _parser().parse_args()
    if INSIDE in os.environ:
        return _ride(asked, json.loads(os.environ.pop(INSIDE)))
    _progress("installing the Python clients and fetching the SDK")
    missing: dict[str, str] = {}
    try:
        ground.python()
        sdk = ground.sdk(asked.sdk)
    except ground.Missing as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    _progress("installing the clients on Node")
    try:
        ground.node()
    except ground.Missing as error:
        missing["node"] = str(error)
    prepared = {"sdk": str(sdk), "missing": missing, "isolated": _can_isolate()}
    inside = (*ISOLATED, "sh", "-c", LOOPBACK_UP, "sh") if prepared["isolated"] else ()
    command = (*inside, sys.executable, "-m", "tests.conformance", *sys.argv[1:])
    return subprocess.run(command, env={**os.environ, INSIDE: json.dumps(prepared)}, check=False).returncode


def _ride(asked: argparse.Namespace, prepared: dict[str, object]) -> int:
    found = asyncio.run(_rides(asked.only or PARTS, prepared))
    print(tables(found))
    for fault in found.faults():
        print(f"conformance: {fault}", file=sys.stderr)
    if asked.write and not found.faults():
        PAGE.write_text(page(found))
    return 1 if found.faults() else 0


async def _rides(parts: tuple[str, ...], prepared: dict[str, object]) -> Found:
    sdk, missing = Path(str(prepared["sdk"])), prepared["missing"]
    assert isinstance(missing, dict)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with opened(folder, sdk_tests.models(sdk)) as house:
            rides: list[clients.Ride] = []
            suites: list[sdk_tests.Suite] = []
            bill, streams = None, list[golden.Golden]()
            if "clients" in parts:
                for client in clients.CLIENTS:
                    _progress(client.name)
                    isolated = bool(prepared["isolated"])
                    rides.append(await clients.ride(house, client, folder, missing=missing, isolated=isolated))
            if "tests" in parts:
                _progress(f"the tests of {sdk.name}")
                suites, bill = await sdk_tests.run(house, sdk, folder)
            if "golden" in parts:
                _progress("golden streams")
                streams = await golden.run(house, sdk)
    return Found(rides=rides, sdk=sdk.name, suites=suites, suites_bill=bill, golden=streams)


def _can_isolate() -> bool:
    """Whether a network namespace can be made and its loopback brought up."""
    if any(shutil.which(tool) is None for tool in ("unshare", "ip")):
        return False
    command = (*ISOLATED, "sh", "-c", LOOPBACK_UP, "sh", "true")
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def _progress(what: str) -> None:
    print(f"conformance: {what}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be given again")
    parser.add_argument(
        "--sdk", default="", metavar="VERSION", help="of the SDK whose tests ride (default: the newest)"
    )
    parser.add_argument("--write", action="store_true", help="write docs/clients.md, when nothing was wrong")
    return parser


if __name__ == "__main__":
    sys.exit(main())
