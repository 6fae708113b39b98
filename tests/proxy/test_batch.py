"""A batch is judged request by request as calls are, and made whole or not at all.

Method: a whole gateway on loopback, and its books afterwards.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.answers import refused
from tests.contract.batches import COST, LEFT, OPENING, PATH, body, good, made, over
from tests.gateway import MODEL, ask, running


@pytest.mark.parametrize(("cap", "status", "code"), [("quota", 402, "quota_exceeded"), ("spend_5h", 429, "spend_5h")])
async def test_a_batch_is_held_to_the_keys_own_caps(folder: Path, cap: str, status: int, code: str) -> None:
    async with running(folder, script=good) as gate:
        key = await gate.key(**{cap: "1000"})
        many = body(*(f"r{number}" for number in range(9)))
        answer = await gate.post(PATH, key, many)
        assert (answer.status_code, answer.json()["error"]["details"]["error_code"]) == (status, code)
        assert (await gate.books())[1] == 0

        await over(gate, key, (await made(gate, key, "a"))["id"])
        left_of = (await gate.get("/v1/wallet", key)).json()["key"]["remaining"][cap]
        assert left_of == f"{1_000 - COST / 1_000:g}"
        assert await gate.books() == (OPENING - COST, 0)


async def test_more_than_a_wallet_may_have_waiting_is_429_and_nothing_is_held(tmp_path: Path) -> None:
    async with running(tmp_path, script=good, toml=LEFT + "\nwaiting_max = 3") as gate:
        key = await gate.key()
        await made(gate, key, "a", "b")
        held = (await gate.books())[1]
        answer = await gate.post(PATH, key, body("c", "d"))

        assert refused(answer, 429, "rate_limit_error", "batch_requests")
        assert (await gate.books())[1] == held


async def test_a_credit_limit_holds_for_a_batch(tmp_path: Path) -> None:
    async with running(tmp_path, script=good) as gate:
        answer = await gate.post(PATH, await gate.key(), body("a", "b"), x_credits_limit="1")

        refused(answer, 402, "billing_error", "credit_limit_exceeded")
        assert await gate.books() == (OPENING, 0)


async def test_an_upper_case_ask_is_judged_as_its_own_call_would_be(tmp_path: Path) -> None:
    async with running(tmp_path, script=good) as gate:
        key = await gate.key()
        plainly = (await gate.message(key, ask(temperature=0.5), anthropic_version="2026-10-21")).json()
        batch = (await gate.post(PATH, key, body("a", temperature=0.5), anthropic_version="2026-10-21")).json()

        assert batch["error"]["message"] == "requests.0.params." + plainly["error"]["message"]


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        ({}, 400, "requests: Field required"),
        ({"requests": []}, 400, "requests: List should have 1 to 100000 items, not 0"),
        ({"requests": [], "x": 1}, 400, "x: Extra inputs are not permitted"),
        (body("a", "b", "a"), 400, "requests.2.custom_id: 'a' is taken by request 0 of this batch"),
        (body("a b"), 400, "requests.0.custom_id: String should have 1 to 64 letters, digits, '_' and '-'"),
        (body("x" * 65), 400, "requests.0.custom_id: String should have 1 to 64 letters, digits, '_' and '-'"),
        (
            {"requests": [*body("a")["requests"], *body("b", max_tokens=9_000)["requests"]]},
            400,
            "requests.1.params.max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens for "
            f"{MODEL}",
        ),
        (body("a", stream=True), 400, "requests.0.params.stream: a batch's answers are not streamed; leave it out"),
        (body("a", messages=[{"role": "nobody"}]), 400, "requests.0.params.messages.0.role"),
        (body("a", model="no-such"), 404, "requests.0.params.model: no-such"),
        (body("a", nonsense=1), 400, "requests.0.params.nonsense: Extra inputs are not permitted"),
        ({"requests": [{"custom_id": "a", "params": 1}]}, 400, "requests.0.params: "),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_with_its_request_and_nothing_is_held(
    tmp_path: Path, sent: Any, status: int, says: str
) -> None:
    async with running(tmp_path, script=good) as gate:
        answer = await gate.post(PATH, await gate.key(), sent)

        assert (answer.status_code, answer.json()["error"]["message"][: len(says)]) == (status, says)
        assert await gate.books() == (OPENING, 0)
        assert not gate.upstream.log


async def test_of_each_wallet_one_batch_at_a_time_is_read(tmp_path: Path) -> None:
    async with running(tmp_path, script=good, toml=LEFT) as gate:
        key, same, other = await gate.key(), await gate.key(), await gate.key("other")
        begun, rest = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            data = msgspec.json.encode(body("a"))
            yield data[:9]
            begun.set()
            await rest.wait()
            yield data[9:]

        first = asyncio.create_task(gate.client.post(PATH, content=slow(), headers={"x-api-key": key}))
        await begun.wait()
        await made(gate, other, "a")
        second = asyncio.create_task(made(gate, same, "b"))
        await made(gate, other, "b")
        await made(gate, other, "c")
        assert not second.done(), "it waits for its turn, and nobody else does"
        rest.set()

        assert (await first).status_code == 200 and (await second)["processing_status"] == "in_progress"


async def test_an_idempotency_key_is_refused_and_not_ignored(tmp_path: Path) -> None:
    async with running(tmp_path, script=good) as gate:
        answer = await gate.post(PATH, await gate.key(), body("a"), idempotency_key="once")

        assert refused(answer, 400, "invalid_request_error", "invalid_param")
        assert await gate.books() == (OPENING, 0)
