"""The page of claude-haiku-4-5 that the project began from: each of its statements, by name, against a running gateway.

Method: over HTTP and the scripted upstream, in the order of the page. What the page says in one word (`200K`, `8192`,
"not billed") is a figure here.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from faregate.core.money import show_credits
from faregate.edge import desk
from faregate.upstreams.script import failure, plain, stream
from tests.contract.answers import refused, untouched
from tests.gateway import MODEL, Gate, ask, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOL = {"name": "lookup", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}
STABLE = [{"type": "text", "text": "Stable from call to call. " * 200, "cache_control": {"type": "ephemeral"}}]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    toml = "[retry]\nattempts_max = 3\n"
    async with running(tmp_path_factory.mktemp("gate"), toml=toml) as gate:
        yield gate


@pytest_asyncio.fixture(loop_scope="module")
async def key(gate: Gate) -> str:
    gate.upstream.play(None)
    return await gate.key()


async def answered(gate: Gate, key: str, **fields: Any) -> dict[str, Any]:
    answer = await gate.message(key, ask(**fields))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# 能力, 价格, 限制 --------------------------------


async def test_it_reads_200k_tokens_writes_8192_and_has_tools_vision_caching_and_streaming(
    gate: Gate, key: str
) -> None:
    model = (await gate.get(f"/v1/models/{MODEL}", key)).json()

    assert (model["max_input_tokens"], model["max_tokens"]) == (200_000, 8192)
    assert model["capabilities"]["image_input"]["supported"]
    page = gate.running.gate.catalog.find(MODEL)
    assert page is not None
    able = page.capabilities
    assert able.tools and able.vision and able.prompt_caching and able.streaming


async def test_it_is_priced_by_the_token_at_live_prices(gate: Gate, key: str) -> None:
    answer = await gate.message(key)
    rows = {row["id"]: row for row in (await gate.get("/v1/pricing")).json()["data"]}
    row = rows[answer.headers["x-price-version"]]

    usage = answer.json()["usage"]
    # USD per million tokens are credits per token.
    cost = usage["input_tokens"] * float(row["input"]) + usage["output_tokens"] * float(row["output"])
    assert float(answer.headers["x-credits-charged"]) == cost


# 请求: Body 参数 --------------------------------


@pytest.mark.parametrize("field", ["model", "messages", "max_tokens"])
async def test_a_required_field_is_required(gate: Gate, key: str, field: str) -> None:
    body = {name: value for name, value in ask().items() if name != field}
    refused(await gate.message(key, body), 400, "invalid_request_error", "invalid_param")


async def test_max_tokens_is_a_hard_cap_on_the_length_of_the_answer(gate: Gate, key: str) -> None:
    message = await answered(gate, key, max_tokens=3)
    assert (message["usage"]["output_tokens"], message["stop_reason"]) == (3, "max_tokens")


async def test_8192_is_the_most_that_max_tokens_may_be(gate: Gate, key: str) -> None:
    await answered(gate, key, max_tokens=8192)
    refused(await gate.message(key, ask(max_tokens=8193)), 400, "invalid_request_error", "invalid_param")


@pytest.mark.parametrize("system", ["Be brief.", STABLE], ids=["string", "array with cache_control"])
async def test_system_is_a_string_or_an_array(gate: Gate, key: str, system: Any) -> None:
    await answered(gate, key, system=system)
    assert gate.upstream.log[-1].document["system"] == system


@pytest.mark.parametrize("name", ["temperature", "top_p"])
async def test_sampling_ranges_from_0_to_1(gate: Gate, key: str, name: str) -> None:
    for value in (0.0, 0.5, 1.0):
        await answered(gate, key, **{name: value})
    for value in (-0.01, 1.01):
        refused(await gate.message(key, ask(**{name: value})), 400, "invalid_request_error", "invalid_param")


async def test_defaults_are_the_models_own_for_nothing_is_added_to_a_body(gate: Gate, key: str) -> None:
    answer = await gate.message(key)

    assert gate.upstream.log[-1].document == ask()
    assert answer.headers["content-type"] == "application/json", "stream is false unless it is asked for"


@pytest.mark.parametrize("choice", [None, {"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "lookup"}])
async def test_tools_are_taken_with_each_choice(gate: Gate, key: str, choice: dict[str, Any] | None) -> None:
    message = await answered(gate, key, tools=[TOOL], **({"tool_choice": choice} if choice else {}))
    forced = choice is not None and choice["type"] in ("any", "tool")
    assert message["stop_reason"] == ("tool_use" if forced else "end_turn")


async def test_stream_gives_server_sent_events(gate: Gate, key: str) -> None:
    streamed = await gate.stream(key)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert (streamed.kinds[0], streamed.kinds[-1]) == ("message_start", "message_stop")


# 响应字段 --------------------------------


async def test_the_id_is_of_our_issue_and_the_model_is_the_one_that_was_asked_for(gate: Gate, key: str) -> None:
    upstream = {"id": "msg_upstreams_own", "type": "message", "role": "assistant", "model": "claude-internal-9",
                "content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    gate.upstream.play([plain(upstream), stream(upstream)])

    message, streamed = await answered(gate, key), await gate.stream(key)
    for shown in (message, streamed.events[0]["message"]):
        assert shown["model"] == MODEL
        assert (await gate.receipt(key, shown["id"]))["id"] == shown["id"] != "msg_upstreams_own"


async def test_text_is_in_text_blocks_and_tool_calls_in_tool_use_blocks(gate: Gate, key: str) -> None:
    (text,) = (await answered(gate, key))["content"]
    (call,) = (await answered(gate, key, tools=[TOOL], tool_choice={"type": "any"}))["content"]

    assert text["type"] == "text" and text["text"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "lookup", {"q": "text"})


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("end_turn", {}),
        ("max_tokens", {"max_tokens": 2}),
        ("tool_use", {"tools": [TOOL], "tool_choice": {"type": "any"}}),
        ("stop_sequence", {"stop_sequences": ["fare"]}),
    ],
)
async def test_each_stop_reason_of_the_page_comes_through(
    gate: Gate, key: str, reason: str, fields: dict[str, Any]
) -> None:
    assert (await answered(gate, key, **fields))["stop_reason"] == reason
    streamed = await gate.stream(key, ask(**fields))
    assert streamed.events[-2]["delta"]["stop_reason"] == reason


async def test_usage_is_what_is_billed(gate: Gate, key: str) -> None:
    answer = await gate.message(key)
    usage, price = answer.json()["usage"], gate.price()

    cost = usage["input_tokens"] * price.input + usage["output_tokens"] * price.output
    assert answer.headers["x-credits-charged"] == show_credits(cost)


# 流式 --------------------------------


async def test_the_estimate_comes_before_the_first_event_so_a_long_answer_can_be_cut_before_it_is_paid(
    gate: Gate, key: str
) -> None:
    words = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
             "content": [{"type": "text", "text": "word " * 4_000}],
             "usage": {"input_tokens": 5, "output_tokens": 8_000}}  # fmt: skip
    gate.upstream.play([stream(words, deltas=400, gap_ms=100)])
    body = ask(stream=True, max_tokens=8192)
    async with gate.client.stream("POST", "/v1/messages", headers={"x-api-key": key}, json=body) as answer:
        estimated = float(answer.headers["x-credits-estimated"])
        ceiling = float(answer.headers["x-credits-max"])
        # The caller reads the headers, finds it dear, and goes: nothing of the body has been read.

    (receipt,) = await gate.settled(key)
    assert (receipt["outcome"], receipt["basis"]) == ("client_gone", "counted")
    charged = float(receipt["charged"])
    assert 0 < estimated <= ceiling
    assert charged < 8_000 * 5 / 10, "far from the whole answer"
    assert gate.upstream.log[-1].hung_up


# Cache control --------------------------------


async def test_a_hit_is_returned_and_billed_at_the_price_of_cache_reads(gate: Gate, key: str) -> None:
    system = [{**STABLE[0], "text": "Tool definitions of an agent loop. " * 200}]
    first, second = [await answered(gate, key, system=system) for _ in range(2)]

    hit = second["usage"]["cache_read_input_tokens"]
    assert hit == first["usage"]["cache_creation_input_tokens"] > 1_000
    price, usage = gate.price(), second["usage"]
    cost = usage["input_tokens"] * price.input + usage["output_tokens"] * price.output + hit * price.cache_read
    read, written = await gate.receipts(key)
    assert read["charged"] == show_credits(cost)
    assert float(read["charged"]) < float(written["charged"]) / 5


# 错误: none is billed --------------------------------


async def test_400_for_a_body_that_does_not_pass_is_not_billed(gate: Gate, key: str) -> None:
    async with untouched(gate):
        assert (await gate.message(key, ask(messages=[]))).status_code == 400


async def test_401_for_a_missing_or_revoked_key_is_not_billed(gate: Gate, key: str) -> None:
    await desk.key_revoke(gate.running.desk, desk.Asked(name=key.removeprefix("sk-fare-").partition("_")[0]))
    async with untouched(gate):
        assert (await gate.post("/v1/messages", None, ask())).status_code == 401
        assert (await gate.message(key)).status_code == 401


async def test_402_for_a_used_up_wallet_is_not_billed(gate: Gate) -> None:
    key = await gate.key("used up", "1")
    async with untouched(gate, "used up"):
        assert (await gate.message(key)).status_code == 402


async def test_403_out_of_scope_or_not_on_the_list_of_addresses_is_not_billed(gate: Gate, key: str) -> None:
    for other in (await gate.key(models=["claude-opus-4-7"]), await gate.key(allow_ips=["192.0.2.1"])):
        async with untouched(gate):
            assert (await gate.message(other)).status_code == 403


async def test_422_for_an_unsupported_parameter_is_rare_and_not_billed(gate: Gate, key: str) -> None:
    async with untouched(gate):
        assert (await gate.message(key, ask(mcp_servers=[]))).status_code == 422


async def test_429_for_a_rate_is_not_billed(gate: Gate) -> None:
    key = await gate.key(requests_per_minute=1)
    await gate.message(key)
    async with untouched(gate):
        assert (await gate.message(key)).status_code == 429


async def test_5xx_of_the_provider_is_retried_by_itself_and_not_billed(gate: Gate, key: str) -> None:
    trouble = failure(503, "api_error", "away", retry_after="0")
    gate.upstream.play([trouble, trouble, trouble])
    async with untouched(gate, calls=3):
        answer = await gate.message(key)
    assert answer.status_code == 502
    assert len(answer.json()["error"]["details"]["retry"]["attempts"]) == 3

    gate.upstream.play([trouble, trouble])
    assert (await gate.receipt(key, (await answered(gate, key))["id"]))["attempts"] == 3
