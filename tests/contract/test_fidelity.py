"""What a caller says reaches the upstream word for word, and what the upstream says reaches the caller and the bill.

Method: requests that hold every kind of content the Messages API has, against a running gateway; the upstream's log and
the receipts say what became of them.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from faregate.core.money import show_credits
from faregate.upstreams import script
from tests.gateway import Gate, ask, running
from tests.wire.bodies import image, pdf, text, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

SONNET = "claude-sonnet-4-6"
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCgIYAhIM/+=="}
CITATION = {"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}
SEARCHED = {"type": "tool_search_tool_search_result", "tool_references": [{"type": "tool_reference", "tool_name": "b"}]}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": [text(), image(), pdf(), pdf(type="text", media_type="text/plain", data="words")]},
    {"role": "system", "content": [text("mind the gap")], "output_config": {"effort": "low"}},
    {
        "role": "assistant",
        "content": [
            THOUGHT,
            {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"},
            text("As it says.", citations=[CITATION]),
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_bm25", "input": {"query": "b"}},
            {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": SEARCHED},
            {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {"n": 1}, "caller": {"type": "direct"}},
            {"type": "tool_use", "id": "toolu_2", "name": "b", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": [
                    text("found", cache_control={"type": "ephemeral", "ttl": "1h"}),
                    {"type": "search_result", "source": "s", "title": "t", "content": [text()]},
                ],
            },
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no", "is_error": True},
        ],
    },
]
EVERY_FIELD: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 4_096,
    "messages": CONVERSATION,
    "system": [text("be kind", cache_control={"type": "ephemeral"})],
    "cache_control": {"type": "ephemeral", "ttl": "5m"},
    "diagnostics": {"previous_message_id": "msg_1"},
    "inference_geo": "global",
    "metadata": {"user_id": "u-1"},
    "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "service_tier": "standard_only",
    "stop_sequences": ["END"],
    "thinking": {"type": "enabled", "budget_tokens": 1_024, "display": "summarized"},
    "tools": [tool("a", strict=True, eager_input_streaming=True), tool("b", defer_loading=True), tool("c")],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": False},
}
SAMPLED = {"temperature": 1, "top_p": 0.95, "top_k": 40}
"""What the newer API version does not have."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


@pytest.mark.parametrize(("version", "more"), [("2023-06-01", SAMPLED), ("2026-10-21", {})])
@pytest.mark.parametrize("form", ["plain", "stream"])
async def test_every_field_and_block_reaches_the_upstream_as_it_was_sent(
    gate: Gate, version: str, more: dict[str, Any], form: str
) -> None:
    key = await gate.key(wallet="rich", credits="100000000")
    body = EVERY_FIELD | more | {"stream": form == "stream"}
    answer = await (gate.stream if form == "stream" else gate.message)(key, body, anthropic_version=version)

    assert answer.status_code == 200
    assert "x-dropped-parameters" not in answer.headers
    seen = gate.upstream.log[-1]
    assert msgspec.json.decode(seen.body) == body
    assert list(seen.document) == list(body)
    assert seen.headers["anthropic-version"] == version


@pytest.mark.parametrize("form", ["plain", "stream"])
async def test_a_compaction_that_is_outside_of_the_totals_is_billed_too(gate: Gate, form: str) -> None:
    compaction = {"type": "compaction", "input_tokens": 31, "output_tokens": 7, "cache_read_input_tokens": 3}
    turn = {"type": "message", "input_tokens": 20, "output_tokens": 9}
    usage = {"input_tokens": 20, "output_tokens": 9, "iterations": [compaction, turn]}
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": SONNET, "stop_reason": "end_turn", "usage": usage,
        "content": [{"type": "compaction", "content": "a summary", "encrypted_content": "RQ=="}, text("hi")],
    }  # fmt: skip
    key = await gate.key()
    if form == "stream":
        gate.upstream.play([script.stream(message)])
        message_id = (await gate.stream(key, anthropic_beta="compact-2026-01-12")).id
    else:
        gate.upstream.play([script.plain(message)])
        message_id = (await gate.message(key, anthropic_beta="compact-2026-01-12")).json()["id"]

    receipt = await gate.receipt(key, message_id)
    assert receipt["usage"]["input_tokens"] == 51
    assert receipt["usage"]["output_tokens"] == 16
    price = gate.price()
    assert receipt["charged"] == show_credits(51 * price.input + 16 * price.output + 3 * price.cache_read)


async def test_what_an_upstream_sends_before_the_message_begins_reaches_the_caller(gate: Gate) -> None:
    odd = (script.frame("future_event", usage={"input_tokens": 99}), b": a comment\n\n")
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": SONNET, "content": [text("hi")],
        "stop_reason": "end_turn", "usage": {"input_tokens": 20, "output_tokens": 9},
    }  # fmt: skip
    gate.upstream.play([script.events([*odd, *script.frames_of(message)])])
    answer = await gate.stream(await gate.key())

    assert answer.body.startswith(b"".join(odd))
    assert answer.kinds[1] == "message_start" and answer.kinds[-1] == "message_stop"


async def test_twenty_five_counts_at_once_are_all_answered_and_none_is_billed(gate: Gate) -> None:
    key = await gate.key(wallet="counting", credits="1")
    counts = await asyncio.gather(
        *(
            gate.post("/v1/messages/count_tokens", key, ask(messages=[{"role": "user", "content": f"file {n}"}]))
            for n in range(25)
        )
    )

    assert [count.status_code for count in counts] == [200] * 25
    assert await gate.receipts(key) == []
    assert await gate.books("counting") == (1_000, 0)
