"""What it costs to read, judge and quote a request, in process CPU time and without a socket.

    long prompt     800 kB, 200,000 tokens, with images        agent     49 kB with 12 tools

One rule: what is timed is what the story does between the body and the hold: `entry.read`, `entry.find_model` and
`fare.appraise`, with the shipped catalog and its prices.
"""

import argparse
import base64
import json
import random
import time
from types import SimpleNamespace
from typing import Any, Final, cast

from bench.answers import MODEL
from bench.jobs import spread
from bench.tables import Bar, Table, number
from faregate import shipped
from faregate.core.access import Key
from faregate.core.estimate import Estimator
from faregate.core.pricing import in_force
from faregate.core.routing import Routes
from faregate.proxy import entry, fare
from faregate.proxy.port import Caller, Gateway

LONG_BYTES: Final = 800_000
AGENT_BYTES: Final = 49_000
IMAGES: Final = 3
IMAGE_BYTES: Final = 30_000
TOOLS: Final = 12
WORDS: Final = ("the", "fare", "is", "held", "before", "the", "gate", "opens", "and", "settled", "{}[]();", ":=", "'\n")
KEY: Final = Key(id="bench0000000", wallet_id="wal_bench", name="bench", created_at_ms=0)
COLUMNS: Final = ("request", "bytes", "decode ms", "validate and quote ms", "together p50 ms", "p99 ms", "runs")


def run(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """The table."""
    rows, bars = list[tuple[str, ...]](), list[Bar]()
    for name, body in (("agent", agent()), ("long prompt", long_prompt())):
        decoded, judged, whole = timed(body, options.runs)
        together = spread(whole, per_ms=1e6)
        shown = [spread(part, per_ms=1e6).p50 for part in (decoded, judged)]
        rows.append((name, number(len(body), 0), *(number(value, 3) for value in shown), number(together.p50, 3),
                     number(together.p99, 3), str(options.runs)))  # fmt: skip
        bars.append(Bar("", name, together.p50))
    note = (
        "Process CPU time, no socket: the body is decoded, its model found, the whole judged by the catalog and quoted."
    )
    return [Table("What a quote costs", COLUMNS, tuple(rows), tuple(bars), "CPU ms a quote", note)], []


def timed(body: bytes, runs: int) -> tuple[list[int], list[int], list[int]]:
    """Nanoseconds of CPU to decode it, to judge and quote it, and both."""
    gate, caller = gateway(), cast(Caller, SimpleNamespace(header=lambda _: None))
    decoded, judged = list[int](), list[int]()
    for _ in range(runs):
        one = time.process_time_ns()
        document = entry.read(body)
        two = time.process_time_ns()
        fare.appraise(gate, KEY, document, entry.find_model(gate, KEY, document), caller)
        three = time.process_time_ns()
        decoded.append(two - one)
        judged.append(three - two)
    return decoded, judged, [one + two for one, two in zip(decoded, judged, strict=True)]


def gateway() -> Gateway:
    """As much of one as a quote needs."""
    catalog, now = shipped.load_catalog(), time.time_ns() // 1_000_000
    price = in_force([one for one in catalog.prices() if one.model == MODEL], now)
    prices = SimpleNamespace(price=lambda *_: price)
    made = SimpleNamespace(catalog=catalog, prices=prices, routes=Routes([]), estimator=Estimator(), now_ms=lambda: now)
    return cast(Gateway, made)


def long_prompt() -> bytes:
    """A conversation of many turns with images in it."""
    chance = random.Random(1)
    image = {
        "type": "image",
        "source": {
            "type": "base64",
            "media_type": "image/png",
            "data": base64.b64encode(chance.randbytes(IMAGE_BYTES)).decode(),
        },
    }
    turns = 40
    rest = LONG_BYTES - IMAGES * len(json.dumps(image))
    messages = [_turn(turn, _text(chance, rest // turns)) for turn in range(turns)]
    for turn in range(IMAGES):
        messages[turn * 2]["content"].append(image)
    messages.append(_turn(turns, "What follows from all this?"))
    return json.dumps({"model": MODEL, "max_tokens": 1024, "messages": messages}).encode()


def agent() -> bytes:
    """A coding agent's call: a system prompt, twelve tools, a few turns with results, cache marks."""
    chance = random.Random(2)
    properties = {
        name: {"type": "string", "description": _text(chance, 120)} for name in ("path", "pattern", "command", "reason")
    }
    schema = {"type": "object", "properties": properties, "required": ["path"]}
    mark = {"cache_control": {"type": "ephemeral"}}
    tools: list[dict[str, Any]] = [
        {"name": f"tool_{tool}", "description": _text(chance, 600), "input_schema": schema} for tool in range(TOOLS)
    ]
    tools[-1] |= mark
    messages: list[dict[str, Any]] = [_turn(0, _text(chance, 1_000))]
    while len(json.dumps([tools, messages])) < AGENT_BYTES - 9_000:
        used = f"toolu_{len(messages)}"
        use = {"type": "tool_use", "id": used, "name": "tool_1", "input": {"path": "src/main.py"}}
        result = {"type": "tool_result", "tool_use_id": used, "content": _text(chance, 2_000)}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    messages[-1]["content"][0] |= mark
    document = {"model": MODEL, "max_tokens": 4096, "stream": True, "tools": tools, "messages": messages}
    system = [{"type": "text", "text": _text(chance, AGENT_BYTES - len(json.dumps(document)) - 100), **mark}]
    return json.dumps({**document, "system": system}).encode()


def _turn(turn: int, text: str) -> dict[str, Any]:
    return {"role": ("user", "assistant")[turn % 2], "content": [{"type": "text", "text": text}]}


def _text(chance: random.Random, size: int) -> str:
    return " ".join(chance.choices(WORDS, k=size // 4))[:size].strip() or "."
