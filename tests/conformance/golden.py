"""The golden streams that ship in the SDK, played by the upstream and ridden through relay and meter.

The rule: a golden stream comes out as it went in, but for the id and the model in its `message_start`, up to its end;
and it is billed by what it says, read here by the SDK's rule: a later count replaces an earlier one, a compaction's are
added. Each is played twice, in one piece and in pieces that cut anything.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from faregate.upstreams import script
from tests.conformance.house import MODEL, House

PIECE_BYTES: Final = 61
ROOM: Final = "All that was said before. " * 2_000
"""A prompt that is longer than any input a golden stream reports."""


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one stream."""

    name: str
    faults: tuple[str, ...]


def streams(sdk: Path) -> list[Path]:
    """Every golden stream of a source distribution."""
    tests = sdk / "tests"
    return sorted([*tests.glob("lib/**/fixtures/*.txt"), *tests.glob("fixtures/**/*.sse")])


async def run(house: House, sdk: Path) -> list[Golden]:
    """Play them all."""
    played = [(path.stem, path.read_bytes()) for path in streams(sdk)]
    return [Golden(name=name, faults=tuple(await _replay(house, sdk.name, name, data))) for name, data in played]


async def _replay(house: House, sdk: str, stem: str, data: bytes) -> list[str]:
    data = data.rstrip(b"\n") + b"\n\n"
    faults: list[str] = []
    for name, size in (("whole", len(data)), ("pieces", PIECE_BYTES)):
        rider = await house.rider(f"{sdk}-{stem}-{name}")
        frames = (data[at : at + size] for at in range(0, len(data), size))
        house.script.golden = script.events(frames)
        index = house.next_index
        body = {"model": MODEL, "max_tokens": 8_192, "messages": [{"role": "user", "content": ROOM}]}
        try:
            relayed = await house.gate.stream(rider.key, body)
        finally:
            house.script.golden = None
        if relayed.status_code != 200:
            faults.append(f"{name}: answered with {relayed.status_code}: {relayed.body[:300].decode()}")
            continue
        faults += [f"{name}: {fault}" for fault in differences(data, relayed.body)]
        bill = await rider.bill({index: usage_of(data)})
        faults += [f"{name}: {fault}" for fault in bill.wrong]
    return faults


def differences(data: bytes, relayed: bytes) -> list[str]:
    """Where what came out is not what went in."""
    sent, came = _frames(data), _frames(relayed)
    end = next((at for at, (_, event) in enumerate(sent) if event.get("type") == "message_stop"), len(sent))
    sent = sent[: end + 1]
    found = [f"{len(sent)} frames went in, {len(came)} came out"] if len(sent) != len(came) else []
    for (raw, before), (raw_after, after) in zip(sent, came, strict=False):
        if before.get("type") == "message_start":
            ours = {"id": after["message"]["id"], "model": after["message"]["model"]}
            if {**before["message"], **ours} != after["message"] or before["message"]["id"] == ours["id"]:
                found.append(f"message_start became {raw_after!r}")
        elif raw != raw_after:
            found.append(f"{raw[:100]!r} became {raw_after[:100]!r}")
    return found


def usage_of(data: bytes) -> dict[str, Any]:
    """What a stream says that was used, in the end."""
    total: dict[str, Any] = {}
    for _, event in _frames(data):
        match event.get("type"):
            case "message_start":
                total.update(event["message"]["usage"])
            case "message_delta":
                total.update({name: count for name, count in event["usage"].items() if count is not None})
            case "message_stop":
                break
    for item in total.get("iterations") or ():
        if item["type"] == "compaction":
            for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
                total[name] = (total.get(name) or 0) + (item.get(name) or 0)
    return total


def _frames(data: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    frames = []
    for raw in data.split(b"\n\n"):
        if raw.strip():
            lines = [line.partition(b":")[2] for line in raw.split(b"\n") if line.startswith(b"data:")]
            frames.append((raw, json.loads(b"\n".join(lines)) if lines else {}))
    return frames
