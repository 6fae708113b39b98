"""OpenAI's door opens on the same gateway: one wallet, one quote, one receipt, one bill, whichever way a caller came.

Method: the claims of money that tests/contract makes of /v1/messages, made of /v1/chat/completions over real sockets:
what is charged is counted out from what upstream said, and the books are looked at after each.
"""

from pathlib import Path
from typing import Any

import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.edge import desk
from faregate.edge.protocol import Protocol
from faregate.upstreams.script import events, failure, frames_of, plain
from faregate.upstreams.script import stream as streamed
from tests.contract.chats import ASK, CHAT, chat, chunks, completion, ride, stream, text
from tests.contract.handmade import by_hand
from tests.contract.riders import NO_RETRY, message, until
from tests.gateway import MODEL, running

QUOTE = ["x-credits-max", "x-credits-estimated", "x-credits-input", "x-credits-remaining", "x-max-tokens-effective",
         "x-price-version"]  # fmt: skip
OPENING = 1_000_000 * NANOS_PER_CREDIT
USED = {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 10}
COST = 5 * 1_000 + 3 * 5_000 + 70 * 100 + 10 * 1_250
GOOD = message("The gate opens", **USED)
SHOWN = {
    "prompt_tokens": 85,
    "completion_tokens": 3,
    "total_tokens": 88,
    "prompt_tokens_details": {"cached_tokens": 70, "cache_write_tokens": 10},
}


def refused(answer: Any, status: int, kind: str, code: str) -> dict[str, Any]:
    """An error in OpenAI's envelope, with our request id in its head too."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert (error["type"], error["code"], error["details"]["error_code"]) == (kind, code, code)
    assert set(error) == {"message", "type", "param", "code", "details"}
    assert answer.headers["x-request-id"] == answer.headers["request-id"] == answer.json()["request_id"]
    return error


async def test_a_completion_is_quoted_billed_and_receipted_as_any_call(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        answer = await completion(gate, key, chat(temperature=1.5, seed=7, user="u-1"))
        found = answer.json()

        assert (answer.status_code, found["object"], found["usage"]) == (200, "chat.completion", SHOWN)
        assert found["choices"][0]["message"]["content"] == "The gate opens"
        assert [name for name in QUOTE if name not in answer.headers] == []
        assert answer.headers["x-dropped-parameters"] == "seed, temperature"
        receipt = await gate.receipt(key, found["id"])
        assert (receipt["state"], receipt["charged"]) == ("settled", answer.headers["x-credits-charged"])
        assert await gate.books() == (OPENING - COST, 0)
        assert gate.upstream.log[-1].document == {
            "model": MODEL, "max_tokens": 100, "messages": ASK["messages"], "metadata": {"user_id": "u-1"},
        }  # fmt: skip
        assert gate.upstream.log[-1].path == "/v1/messages"


async def test_a_streams_usage_is_what_its_receipt_says(folder: Path) -> None:
    async with running(folder, script=[streamed(GOOD)]) as gate:
        key = await gate.key()
        answer, body = await stream(gate, key)
        found = chunks(body)

        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert [name for name in QUOTE if name not in answer.headers] == []
        assert text(body) == "The gate opens" and body.endswith(b"data: [DONE]\n\n")
        assert (found[-1]["choices"], found[-1]["usage"]) == ([], SHOWN)
        usage = (await gate.receipt(key, found[0]["id"]))["usage"]
        assert usage["output_tokens"] == SHOWN["completion_tokens"]
        assert usage["cache_read_input_tokens"] == 70 and usage["cache_creation_input_tokens"] == 10
        assert usage["input_tokens"] + 70 + 10 == SHOWN["prompt_tokens"]
        assert await gate.books() == (OPENING - COST, 0)


async def test_nothing_that_looks_like_the_end_is_seen_before_the_charge_is_written(folder: Path) -> None:
    frames = frames_of(GOOD)
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await ride(gate, key)
        turn = await upstream.turn()
        turn.begin(*frames[:-1])
        while text(rider.body) != "The gate opens":
            await rider.more()
        assert not any(c["finish_reason"] for chunk in chunks(rider.body) for c in chunk["choices"])
        assert (await gate.receipts(key))[0]["state"] in ("reserved", "streaming")

        turn.finish(frames[-1])
        await rider.until(b'"finish_reason":"stop"')
        assert (await gate.receipts(key))[0]["state"] == "settled"
        assert (await rider.whole()).count(b"[DONE]") == 1
        rider.leave()


@pytest.mark.parametrize("how", ["leave", "half_close", "reset"])
async def test_who_hangs_up_pays_once_for_what_was_made_for_them(folder: Path, how: str) -> None:
    frames = frames_of(message("a" * 40 + "b" * 40, input_tokens=9, output_tokens=33))
    sent = [raw for raw in frames if b"content_block_stop" not in raw][:4]
    made = sum(len(raw.partition(b'"text":"')[2].partition(b'"}}')[0]) for raw in sent if b"text_delta" in raw)
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await ride(gate, key)
        turn = await upstream.turn()
        turn.begin(*sent)
        while len(text(rider.body)) < made:
            await rider.more()
        getattr(rider, how)()
        await turn.gone()
        (receipt,) = await gate.settled(key)

        assert made > 0 and (receipt["outcome"], receipt["basis"]) == ("client_gone", "counted")
        assert await gate.books() == (OPENING - 9 * 1_000 - -(-made // 4) * 5_000, 0)
        rider.leave()


async def test_a_caller_who_takes_nothing_slows_upstream_down_and_has_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "send_s", 0.2)
    endless = frames_of(message("x" * 30_000_000, input_tokens=9, output_tokens=1), deltas=600)[:-2]
    async with running(folder, script=[events(endless)]) as gate:
        key = await gate.key()
        rider = await ride(gate, key)
        await rider.until(b"assistant")
        (receipt,) = await gate.settled(key)

        assert (receipt["outcome"], receipt["charged"]) == ("client_gone", receipt["max"])
        await until(lambda: gate.upstream.log[0].hung_up)
        assert gate.upstream.log[0].bytes_written < 20_000_000, "it was not read on for nobody"
        assert (await gate.books())[1] == 0
        rider.leave()


async def test_an_error_in_a_stream_is_its_last_event_and_is_not_billed(folder: Path) -> None:
    frames = frames_of(GOOD)
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await ride(gate, key)
        turn = await upstream.turn()
        turn.begin(*frames[:3])
        await rider.until(b"data: ")
        turn.finish()
        await rider.whole()

        *_, last = chunks(rider.body)
        assert (last["error"]["type"], last["error"]["code"]) == ("api_error", "upstream_error")
        assert b"[DONE]" not in rider.body
        assert (await gate.settled(key))[0]["charged"] == "0"
        assert await gate.books() == (OPENING, 0)
        rider.leave()


async def test_an_empty_wallet_is_told_so_and_not_to_ask_again(folder: Path) -> None:
    async with running(folder) as gate:
        key = await gate.key(credits="1")
        answer = await completion(gate, key)
        error = refused(answer, 402, "billing_error", "insufficient_credits")

        assert answer.headers["x-should-retry"] == "false"
        assert {"required", "available"} <= set(error["details"])
        assert len(gate.upstream.log) == 0


async def test_a_caller_who_bounds_nothing_is_held_for_what_the_wallet_affords(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2) as gate:
        rich, poor = await gate.key(), await gate.key(wallet="poor", credits="5000")
        unbounded = {name: value for name, value in ASK.items() if name != "max_tokens"}

        assert (await completion(gate, rich, unbounded)).headers["x-max-tokens-effective"] == "8192"
        answer = await completion(gate, poor, unbounded)
        assert 256 <= int(answer.headers["x-max-tokens-effective"]) < 1_000
        assert float(answer.headers["x-credits-max"]) <= 5_000


async def test_keys_are_judged_as_at_the_other_door(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2) as gate:
        key = await gate.key(models=[MODEL])
        assert (await completion(gate, key)).status_code == 200
        refused(await completion(gate, "sk-fare-no"), 401, "authentication_error", "invalid_api_key")
        refused(
            await completion(gate, key, chat(model="claude-opus-4-7")), 403, "permission_error", "model_not_in_scope"
        )
        error = refused(await completion(gate, key, chat(model="gpt-4o")), 404, "not_found_error", "model_not_found")
        assert error["param"] == "model"

        found = await gate.running.gate.keys.find(key)
        assert found is not None
        await desk.key_revoke(gate.running.desk, desk.Asked(name=found.id))
        refused(await completion(gate, key), 401, "authentication_error", "key_revoked")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"n": 2}, 400, "n"),
        ({"max_tokens": 9_000}, 400, "max_tokens"),
        ({"max_tokens": None, "max_completion_tokens": 9_000}, 400, "max_completion_tokens"),
        ({"stop": ["a", 1]}, 400, "stop.1"),
        ({"stream": "yes"}, 400, "stream"),
        ({"messages": []}, 400, "messages"),
        ({"tools": [{"type": "function", "function": {"name": "not a name"}}]}, 400, "tools.0.function.name"),
        ({"tool_choice": "required"}, 400, "tool_choice.type"),
        ({"mcp": 1, "response_format": {"type": "xml"}}, 400, "response_format.type"),
        ({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}]}]}, 400, "messages.1"),
    ],
)  # fmt: skip
async def test_what_is_refused_names_its_field_and_costs_nothing(
    folder: Path, fields: dict[str, Any], status: int, param: str
) -> None:
    async with running(folder) as gate:
        key = await gate.key()
        answer = await completion(gate, key, chat(**fields))
        error = refused(answer, status, "invalid_request_error", "invalid_param")

        assert error["param"] == param and error["message"].startswith(f"{param}: ")
        assert await gate.books() == (OPENING, 0) and len(gate.upstream.log) == 0


async def test_an_upstreams_failure_has_the_same_envelope_and_says_what_was_tried(folder: Path) -> None:
    async with running(folder, script=[failure(500, "api_error", "oops")], toml=NO_RETRY) as gate:
        key = await gate.key()
        error = refused(await completion(gate, key), 502, "api_error", "upstream_error")

        assert len(error["details"]["retry"]["attempts"]) == 1
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_repeat_is_given_the_same_bytes_however_it_is_spelled(folder: Path, *, is_stream: bool) -> None:
    keeps = "[idempotency]\nkeep_answers_s = 600\n"
    async with running(folder, script=[streamed(GOOD) if is_stream else plain(GOOD)], toml=keeps) as gate:
        key = await gate.key()
        body = chat(stream=is_stream)
        first = await completion(gate, key, body, idempotency_key="once")
        spelled = {**body, "max_completion_tokens": body["max_tokens"], "max_tokens": None, "seed": 3}
        again = await completion(gate, key, spelled, idempotency_key="once")

        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["idempotent-replayed"] == "true" and again.headers["x-dropped-parameters"] == "seed"
        assert await gate.books() == (OPENING - COST, 0)
        other = await completion(gate, key, chat(stream=is_stream, max_tokens=7), idempotency_key="once")
        refused(other, 422, "invalid_request_error", "idempotency_mismatch")


async def test_the_path_is_known_in_every_spelling_and_takes_a_post(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)] * 2) as gate:
        key = await gate.key()
        for path in (f"{CHAT}?api-version=1", "/v1/chat/%63ompletions"):
            assert (await gate.post(path, key, ASK)).json()["object"] == "chat.completion"
        answer = await gate.get(CHAT, key)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_the_list_of_models_is_openais_too(folder: Path) -> None:
    async with running(folder) as gate:
        key = await gate.key()
        page = (await gate.client.get("/v1/models", headers={"authorization": f"Bearer {key}"})).json()

        assert page["object"] == "list" and {model["object"] for model in page["data"]} == {"model"}
        haiku = next(model for model in page["data"] if model["id"] == MODEL)
        assert (haiku["created"], haiku["created_at"]) == (1_760_486_400, "2025-10-15T00:00:00Z")
