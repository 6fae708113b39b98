"""The same over HTTP: a whole gateway on loopback, asked as callers ask it, and judged by its own receipts.

    scripted   an upstream that counts by the made-up tokenizer and remembers prefixes as a prompt cache does
    local      the embedded model, which counts by its own tokenizer and writes as long as it likes

The rule: what was quoted is read from the headers of the answer, what was charged from its receipt.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from bench.quotes.figures import Sample
from bench.quotes.tokenizers import Dense
from bench.quotes.traffic import HABITS, Caller, read_texts
from bench.quotes.truth import Truth
from faregate.core.money import parse_credits
from faregate.upstreams.script import Play, Seen, plain, stream
from tests.gateway import Gate, running

CALLS_OF_A_KEY: Final = 40
LOCAL_CALLS_OF_A_KEY: Final = 30
LOCAL_CAP: Final = 16
LOCAL_TIMEOUT_S: Final = 600
LOCAL_CHARS: Final = 240
MODEL: Final = "claude-sonnet-4-6"
PROGRESS_EVERY: Final = 500
LOCAL_PROGRESS_EVERY: Final = 20
Asked = tuple[list[Sample], str]
"""What was seen, and what /metrics said in the end."""
TEXT_HABITS: Final = ("short", "loop_5m", "code", "loop_bare", "chinese", "json")
"""What the embedded model reads: no pictures, and prompts that it can take in a second."""


async def scripted(folder: Path, *, requests: int, seed: int, progress: Callable[[int], None]) -> Asked:
    """Every habit, through a scripted upstream."""
    truth, rng = Truth(Dense()), random.Random(seed)

    def play(seen: Seen) -> Play:
        document = seen.document
        tenant = str(document["metadata"]["user_id"])
        caller, output = tenant.split(":")
        usage = truth.usage(document, caller, time.monotonic_ns() // 1_000_000)
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": document["model"],
            "stop_reason": "end_turn", "stop_sequence": None, "content": [{"type": "text", "text": "word " * 8}],
            "usage": {**usage, "output_tokens": min(int(output), document["max_tokens"])},
        }  # fmt: skip
        return stream(message) if document.get("stream") else plain(message)

    async with running(folder, script=play) as gate:
        callers = _callers(HABITS, max(1, requests // CALLS_OF_A_KEY), rng)
        return await _ask_all(gate, callers, requests, "http scripted", progress, tell=True)


async def local(folder: Path, *, requests: int, seed: int, progress: Callable[[int], None]) -> Asked:
    """Texts, through the embedded model."""
    toml = (
        '[[upstreams]]\nname = "offline"\nkind = "local"\n[[routes]]\nmodel = "'
        + MODEL
        + '"\nupstreams = ["offline"]\n'
    )
    async with running(folder, toml=toml) as gate:
        gate.client.timeout = LOCAL_TIMEOUT_S  # The machine may be busy, and its model is read by one core.
        callers = _callers(TEXT_HABITS, max(1, requests // LOCAL_CALLS_OF_A_KEY), random.Random(seed))
        return await _ask_all(gate, callers, requests, "http local", progress, tell=False)


def _callers(habits: tuple[str, ...], count: int, rng: random.Random) -> list[Caller]:
    texts = read_texts()
    return [
        Caller(f"key-{number}", habits[number % len(habits)], MODEL, texts, random.Random(rng.random()))
        for number in range(count)
    ]


async def _ask_all(
    gate: Gate, callers: list[Caller], requests: int, door: str, progress: Callable[[int], None], *, tell: bool
) -> Asked:
    samples: list[Sample] = []
    left = iter(range(requests))

    async def ride(caller: Caller) -> None:
        key = await gate.key(caller.name, credits="1000000000000")
        for turn, _ in enumerate(left, start=1):
            samples.append(await _ask(gate, key, caller, turn, door=door, tell=tell))
            if len(samples) % (PROGRESS_EVERY if tell else LOCAL_PROGRESS_EVERY) == 0:
                progress(len(samples))

    riders: list[Awaitable[None]] = [ride(caller) for caller in callers]
    await asyncio.gather(*riders)
    return samples, (await gate.get("/metrics")).text


async def _ask(gate: Gate, key: str, caller: Caller, turn: int, *, door: str, tell: bool) -> Sample:
    call = caller.call()
    document: dict[str, Any] = {**call.document, "stream": turn % 2 == 0}
    if tell:
        document["metadata"] = {"user_id": f"{caller.name}:{call.output}"}
    else:
        document["max_tokens"] = LOCAL_CAP
        document["messages"] = [_shortened(message) for message in document["messages"]]
        document.pop("tools", None)
        document.pop("system", None)
    quoted = (await gate.post("/v1/messages/quote", key, document)).json()
    if document["stream"]:
        streamed = await gate.stream(key, document)
        status, headers, said, number = streamed.status_code, streamed.headers, streamed.body, ""
        if status == 200:
            number = streamed.id
    else:
        answer = await gate.message(key, document)
        status, headers, said = answer.status_code, answer.headers, answer.content
        number = answer.json()["id"] if status == 200 else ""
    if status != 200:
        raise RuntimeError(f"{door}: a call of {caller.habit} was answered {status}: {said[:300]!r}")
    receipt = await gate.record(key, number)
    usage, price = receipt.usage, gate.price(MODEL)
    output = usage.output * price.output
    cost = price.cost(usage)
    return Sample(
        door=door, habit=call.habit, turn=turn, seen=call.seen, ceiling=parse_credits(headers["x-credits-max"]),
        cost=cost, estimated=parse_credits(headers["x-credits-estimated"]), input_cost=cost - output,
        input_estimated=parse_credits(headers["x-credits-input"]), tokens=usage.input_total,
        tokens_estimated=quoted["input_tokens_estimated"],
    )  # fmt: skip


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    """The message, as long as the embedded model reads it in a second."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": content[:LOCAL_CHARS]}
    return {**message, "content": [_cut(block) for block in content]}


def _cut(block: dict[str, Any]) -> dict[str, Any]:
    name = {"text": "text", "tool_result": "content"}.get(block["type"])
    return {**block, name: block[name][: LOCAL_CHARS // 2]} if name else block
