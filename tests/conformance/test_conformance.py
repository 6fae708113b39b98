"""The conformance run proves nothing if it overlooks a false bill, a changed byte, a fault that looks like a refusal.

Method: its own checks, given what they must find; and a small ride through a real gateway that is right.
"""

import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from faregate.upstreams import script
from tests.conformance import clients, golden
from tests.conformance import house as house_module
from tests.conformance.answers import SENTENCE, THOUGHT
from tests.conformance.clients import CLIENTS, Client, Ride
from tests.conformance.golden import Golden, differences, usage_of
from tests.conformance.house import Bill, House, opened, price
from tests.conformance.page import HOW, Found, page
from tests.conformance.sdk_tests import Suite, sorted_out

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK: dict[str, Any] = {"model": "string", "max_tokens": 300, "messages": [{"role": "user", "content": "Hello there"}]}
MESSAGE: dict[str, Any] = {
    "id": "msg_theirs", "type": "message", "role": "assistant", "model": "theirs", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Hello there, and mind the gap."}],
    "usage": {"input_tokens": 20, "output_tokens": 9},
}  # fmt: skip
STREAM = b"".join(script.frames_of(MESSAGE))
OURS = STREAM.replace(b"msg_theirs", b"msg_ours").replace(b'"model":"theirs"', b'"model":"ours"')


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with opened(tmp_path_factory.mktemp("house")) as house:
        yield house


async def test_a_ride_is_billed_as_the_upstreams_log_says(house: House) -> None:
    rider = await house.rider("right")
    answer = await house.gate.message(rider.key, ASK)
    await house.gate.stream(rider.key, ASK)

    assert answer.json()["content"][0]["text"] == SENTENCE
    bill = await rider.bill()
    assert (bill.calls, bill.wrong) == (2, ())
    assert bill.credits == sum(price(message["usage"]) for message in list(house.script.said.values())[-2:])


async def test_a_bill_that_is_not_the_upstreams_answer_is_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    rider = await house.rider("wrong")
    index = house.next_index
    await house.gate.message(rider.key, ASK)
    said = house.script.said[index]["usage"]

    assert not (await rider.bill({index: said})).wrong
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens"):
        assert len((await rider.bill({index: {**said, name: said[name] + 1}})).wrong) == 1

    other = await house.rider("other")
    await house.gate.message(other.key, ASK)
    monkeypatch.setattr(house_module, "SETTLED_S", 0.1)
    assert (await rider.bill()).wrong[0] == "2 calls reached the upstream, and there are 1 receipts"


async def test_a_client_that_does_wrong_or_dies_is_said_to(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "odd.py"
    driver.write_text(
        'import json; print(json.dumps({"version": "odd 1"})); print(json.dumps({"feature": "plain", "ok": True}));'
        'print(json.dumps({"feature": "tools", "ok": False, "said": "no"})); raise SystemExit(3)'
    )
    monkeypatch.setattr(clients, "PYTHON", Path(sys.executable))
    ride = await clients.ride(house, Client(name="Odd", driver=str(driver)), tmp_path, missing={}, isolated=False)

    assert (ride.version, ride.cells) == ("odd 1", {"plain": "yes", "tools": "no"})
    assert [fault.partition(":")[0] for fault in ride.faults] == ["tools", "exit 3"]


async def test_what_cannot_run_here_is_skipped_with_its_reason(house: House, tmp_path: Path) -> None:
    rides = [
        await clients.ride(house, client, tmp_path, missing={"node": "Node is not installed"}, isolated=False)
        for client in CLIENTS
        if client.driver.endswith(".mjs") or client.without_network
    ]

    assert [ride.skipped for ride in rides] == ["Node is not installed"] * 3


async def test_a_thought_that_came_back_changed_is_found(house: House) -> None:
    rider = await house.rider("thoughts")
    for thought in (THOUGHT, {**THOUGHT, "signature": "x"}):
        turns = [*ASK["messages"], {"role": "assistant", "content": [thought]}, *ASK["messages"]]
        await house.gate.message(rider.key, {**ASK, "messages": turns})

    assert len(clients.thoughts_changed(rider.log())) == 1


async def test_golden_streams_are_replayed_and_billed(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "sdk-1" / "tests" / "lib" / "streaming" / "fixtures"
    folder.mkdir(parents=True)
    (folder / "hello.txt").write_bytes(STREAM)
    (folder / "broken.txt").write_bytes(STREAM.replace(b"message_stop", b"message_halt"))

    found = {one.name: one.faults for one in await golden.run(house, tmp_path / "sdk-1")}
    assert found["hello"] == ()
    assert len(found["broken"]) > 0


async def test_any_change_of_a_golden_stream_is_found() -> None:
    assert differences(STREAM, OURS) == []
    assert differences(STREAM, STREAM), "our id was not put into it"
    assert differences(STREAM, OURS.replace(b"gap", b"cap"))
    assert differences(STREAM, OURS.replace(b"event: message_stop", b"event: message_halt"))
    assert differences(STREAM, OURS + b"event: ping\ndata: {}\n\n")
    assert differences(STREAM + b"event: ping\ndata: {}\n\n", OURS) == [], "what follows the end is dropped"


async def test_the_usage_of_a_golden_stream_is_read_by_the_sdks_rule() -> None:
    iterations = [
        {"type": "compaction", "input_tokens": 5, "output_tokens": 2},
        {"type": "message", "input_tokens": 99},
    ]
    start = script.frame("message_start", message={"usage": {"input_tokens": 1, "cache_read_input_tokens": 4}})
    usage = {"input_tokens": 3, "cache_read_input_tokens": None, "output_tokens": 8, "iterations": iterations}
    read = usage_of(start + script.frame("message_delta", delta={}, usage=usage))

    assert (read["input_tokens"], read["output_tokens"], read["cache_read_input_tokens"]) == (8, 10, 4)
    assert price(
        {"input_tokens": 1, "cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 1}}
    ) == Decimal("12.75")


async def test_only_the_gateways_own_422_is_a_refusal_by_contract() -> None:
    def line(test: str, outcome: str = "failed", /, **error: Any) -> dict[str, Any]:
        return {"test": f"f.py::{test}", "outcome": outcome, "said": "x", "answer": {"error": error} if error else None}

    refused: dict[str, Any] = {
        "type": "invalid_request_error",
        "message": "thread: no",
        "details": {"error_code": "unsupported_parameter"},
    }
    found = sorted_out(
        [
            line("a", "passed"),
            line("b", **refused),
            line("c", type="not_found_error", message="There is nothing at /v1/files."),
            line("d", type="invalid_request_error", message="thread: Extra inputs are not permitted"),
            line("e"),
            line("test_batches.py::test_method_retrieve", type="not_found_error", message="no batch of that id"),
            line("test_models.py::test_method_retrieve", type="not_found_error", message="model: model_id"),
        ]
    )

    assert (found.passed, found.refused, found.not_served, found.unknown) == (1, {"f.py::b": "thread: no"}, 1, 1)
    assert [fault.partition(":")[0] for fault in found.wrong] == ["d", "e", "test_method_retrieve"]


async def test_the_page_names_every_client_and_says_how_to_point_it_here() -> None:
    bill = Bill(calls=2, cut=0, credits=Decimal("1.5"), wrong=("a receipt differs",))
    rides = [
        Ride(client="Odd", version="odd 1", cells={"plain": "yes"}, bill=bill),
        Ride(client="Lost", skipped="no Node"),
    ]
    found = Found(rides=rides, suites=[Suite(name="t", wrong=("w",))], golden=[Golden(name="g", faults=("f",))])

    assert len(found.faults()) == 3
    assert "| Odd (`odd 1`) | yes | –" in page(found) and "Lost was skipped: no Node." in page(found)
    assert {client.name for client in CLIENTS} == set(HOW)
    written = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    assert written.endswith(page(found).partition("## How to point")[2]), "run `make conformance ARGS=--write`"
    assert all(f"| {client.name} (`" in written for client in CLIENTS)
