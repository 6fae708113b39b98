"""CONTRACT 3 and the model page's table of body parameters: what a request may say, and what each fault is answered.

Method: one running gateway; every request over HTTP, and what upstream was sent read from the scripted upstream's log.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from tests.contract.answers import refused, untouched
from tests.gateway import MODEL, Gate, ask, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQK"
TOOL: dict[str, Any] = {"name": "lookup", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


def says(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


def text(words: str = "Hello", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


PARALLEL = [
    {"role": "user", "content": "Two cities"},
    {
        "role": "assistant",
        "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {"q": "Paris"}},
            {"type": "tool_use", "id": "toolu_2", "name": "lookup", "input": {"q": "Rome"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [text("sun")], "is_error": False},
        ],
    },
]

ACCEPTED: dict[str, dict[str, Any]] = {
    "max_tokens at the model's maximum": {"max_tokens": 8192},
    "max_tokens 0 to warm the cache": {"max_tokens": 0},
    "system as a string": {"system": "Be brief."},
    "system as an array with cache_control": {"system": [text("Be brief.", cache_control=MARK)]},
    "temperature 0.0": {"temperature": 0.0},
    "temperature 1.0": {"temperature": 1.0},
    "top_p 0": {"top_p": 0},
    "top_p 1": {"top_p": 1},
    "tools": {"tools": [TOOL]},
    "tool_choice auto": {"tools": [TOOL], "tool_choice": {"type": "auto"}},
    "tool_choice any": {"tools": [TOOL], "tool_choice": {"type": "any"}},
    "tool_choice tool": {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "lookup"}},
    "tool_choice none": {"tools": [TOOL], "tool_choice": {"type": "none"}},
    "stream false": {"stream": False},
    "stop_sequences": {"stop_sequences": ["END"]},
    "metadata": {"metadata": {"user_id": "u-1"}},
    "a text block": says(text()),
    "a base64 image": says(image(type="base64", media_type="image/png", data=PIXEL), text()),
    "an image by url": says(image(type="url", url="https://example.org/a.png")),
    "a document": says({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}),
    "a PDF": says({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}),
    "a PDF by url": says({"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}),
    "parallel tool_use and their tool_results": {"tools": [TOOL], "messages": PARALLEL},
    "cache_control without a ttl": says(text(cache_control=MARK)),
    "cache_control for five minutes": says(text(cache_control={"type": "ephemeral", "ttl": "5m"})),
    "cache_control for an hour": says(text(cache_control=HOUR)),
    "four marks": says(*(text(str(n), cache_control=MARK) for n in range(4))),
    "fields inside of blocks and tools that are not known": {
        **says(text(novel={"deep": [1]})),
        "tools": [{**TOOL, "novelty": True}],
    },
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "model is required": ({"model": None}, "model: "),
    "model is a string": ({"model": 7}, "model: "),
    "messages are an array": ({"messages": "Hello"}, "messages: Input should be a valid array"),
    "messages are not empty": ({"messages": []}, "messages: at least one message is required"),
    "a role is known": ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role: Input should be 'user'"),
    "max_tokens is an integer": ({"max_tokens": "100"}, "max_tokens: Input should be a valid integer"),
    "max_tokens is whole": ({"max_tokens": 1.5}, "max_tokens: Input should be a valid integer"),
    "max_tokens is no boolean": ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    "max_tokens is not negative": ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    "system is text": ({"system": 5}, "system: "),
    "system blocks are text": (
        {"system": [image(type="url", url="https://example.org/a.png")]},
        "system.0.type: 'image' is not a block type here: text",
    ),
    "temperature is a number": ({"temperature": "hot"}, "temperature: Input should be a valid number"),
    "temperature is at most 1": ({"temperature": 1.01}, "temperature: Input should be less than or equal to 1"),
    "temperature is at least 0": ({"temperature": -0.1}, "temperature: Input should be greater than or equal to 0"),
    "top_p is at most 1": ({"top_p": 1.5}, "top_p: Input should be less than or equal to 1"),
    "top_p is at least 0": ({"top_p": -1}, "top_p: Input should be greater than or equal to 0"),
    "tools are an array": ({"tools": TOOL}, "tools: Input should be a valid array"),
    "a tool has a name": ({"tools": [{"input_schema": {}}]}, "tools.0.name: Field required"),
    "tool_choice is known": (
        {"tools": [TOOL], "tool_choice": {"type": "some"}},
        "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'",
    ),
    "a chosen tool is given": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}},
        "tool_choice.name: Tool 'other' not found in provided tools",
    ),
    "stream is a boolean": ({"stream": "yes"}, "stream: Input should be a valid boolean"),
    "stop_sequences are strings": ({"stop_sequences": [1]}, "stop_sequences.0: Input should be a valid string"),
    "metadata is an object": ({"metadata": "u"}, "metadata: Input should be an object"),
    "an image's type is named by its path": (
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
                {"role": "user", "content": [image(type="base64", media_type="image/bmp", data=PIXEL)]},
            ]
        },
        "messages.3.content.0.source.media_type: Input should be 'image/jpeg'",
    ),
    "cache_control has a known ttl": (
        says(text(cache_control={"type": "ephemeral", "ttl": "1d"})),
        "messages.0.content.0.cache_control.ttl: ",
    ),
    "a fifth mark": (says(*(text(str(n), cache_control=MARK) for n in range(5))), "messages.0.content.4.cache_control"),
    "a key that the API does not know": ({"flavour": 1}, "flavour: Extra inputs are not permitted"),
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_the_page_allows_is_answered_and_reaches_upstream_unchanged(
    gate: Gate, fields: dict[str, Any]
) -> None:
    answer = await gate.message(await gate.key(), body := ask(**fields))

    assert answer.status_code == 200, answer.text
    sent = gate.upstream.log[-1].document
    assert sent == body
    assert list(sent) == list(body), "key order is kept"
    assert "x-dropped-parameters" not in answer.headers


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
async def test_what_the_page_does_not_allow_is_a_400_that_names_the_field(
    gate: Gate, fields: dict[str, Any], message: str
) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, ask(**fields))

    error = refused(answer, 400, "invalid_request_error", "invalid_param")
    assert error["message"].startswith(message)


@pytest.mark.parametrize("field", ["model", "messages", "max_tokens"])
async def test_what_is_required_is_named_when_it_is_missing(gate: Gate, field: str) -> None:
    body = {name: value for name, value in ask().items() if name != field}
    answer = await gate.message(await gate.key(), body)

    assert refused(answer, 400, "invalid_request_error", "invalid_param")["message"] == f"{field}: Field required"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_a_400_invalid_body(gate: Gate, body: bytes) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, body)

    assert "body" in refused(answer, 400, "invalid_request_error", "invalid_body")["message"]


async def test_an_integer_that_takes_long_to_read_is_refused(gate: Gate) -> None:
    key = await gate.key()
    for digits, status in ((640, 200), (641, 400)):
        body = b'{"novel":%b}' % (b"9" * digits)
        tool = msgspec.json.encode({**TOOL, "input_schema": msgspec.Raw(body)})
        answer = await gate.message(key, ask(tools=[msgspec.Raw(tool)]))
        assert answer.status_code == status
    assert "out of range" in refused(answer, 400, "invalid_request_error", "invalid_body")["message"]


async def test_too_many_output_tokens_name_the_limit_and_the_model(gate: Gate) -> None:
    error = refused(
        await gate.message(await gate.key(), ask(max_tokens=9000)), 400, "invalid_request_error", "invalid_param"
    )

    assert error["message"] == (
        "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens for claude-haiku-4-5"
    )
    assert error["details"]["maximum"] == 8192


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
async def test_the_newer_version_of_the_api_does_not_know_sampling_parameters(gate: Gate, name: str) -> None:
    key = await gate.key()

    assert (await gate.message(key, ask(**{name: 1}))).status_code == 200
    answer = await gate.message(key, ask(**{name: 1}), anthropic_version="2026-10-21")
    message = refused(answer, 400, "invalid_request_error", "invalid_param")["message"]
    assert message == f"{name}: Extra inputs are not permitted"


UNSUPPORTED = {
    "container": "container_1",
    "mcp_servers": [{"type": "url", "url": "https://example.org", "name": "m"}],
    "fallbacks": "default",
    "inference_geo": "eu",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_what_this_model_does_not_support_is_a_422_that_names_both(gate: Gate, name: str) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, ask(**{name: UNSUPPORTED[name]}))

    error = refused(answer, 422, "invalid_request_error", "unsupported_parameter")
    assert error["message"].startswith(f"{name}: ")
    assert MODEL in error["message"]
    assert (error["details"]["parameter"], error["details"]["model"]) == (name, MODEL)


FILE = {"type": "file", "file_id": "file_of_another"}
FILES: dict[str, dict[str, Any]] = {
    "an image": {"type": "image", "source": FILE},
    "a document": {"type": "document", "source": FILE},
    "an upload": {"type": "container_upload", "file_id": "file_of_another"},
    "inside of a tool's result": {
        "type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": FILE}],
    },
    "inside of a document": {
        "type": "document", "source": {"type": "content", "content": [{"type": "image", "source": FILE}]},
    },
    "inside of what upstream judges": {
        "type": "web_fetch_tool_result", "tool_use_id": "t", "content": {"type": "document", "source": FILE},
    },
    "in a block of a beta": {"type": "novelty", "file_id": "file_of_another"},
}  # fmt: skip


@pytest.mark.parametrize("block", FILES.values(), ids=FILES)
async def test_a_file_of_the_operators_account_is_not_the_callers_to_read(gate: Gate, block: dict[str, Any]) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, ask(**says(block)), anthropic_beta="novelty-2026-01-01")
        counted = await gate.post("/v1/messages/count_tokens", key, ask(**says(block)), anthropic_beta="novelty")

    for refusal in (answer, counted):
        error = refused(refusal, 422, "invalid_request_error", "unsupported_parameter")
        assert error["message"].startswith("messages: a file by its id") and "base64" in error["message"]


ADVICE: dict[str, tuple[dict[str, Any], str]] = {
    "thinking": ({"thinking": {"type": "adaptive"}}, "thinking"),
    "effort": ({"output_config": {"effort": "high"}}, "output_config.effort"),
    "context_management": ({"context_management": {"edits": []}}, "context_management"),
    "speed": ({"speed": "fast"}, "speed"),
}


@pytest.mark.parametrize(("fields", "named"), ADVICE.values(), ids=ADVICE)
@pytest.mark.parametrize("way", ["message", "stream"])
async def test_what_only_advises_is_dropped_and_named_in_the_answer(
    gate: Gate, fields: dict[str, Any], named: str, way: str
) -> None:
    key = await gate.key()
    answer = await (gate.stream if way == "stream" else gate.message)(key, ask(**fields))

    assert answer.status_code == 200
    assert answer.headers["x-dropped-parameters"] == named
    assert gate.upstream.log[-1].document == ask() | ({"stream": True} if way == "stream" else {})


async def test_a_prompt_over_the_context_window_is_refused_in_the_standard_words(gate: Gate) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, ask(messages=[{"role": "user", "content": "word " * 300_000}]))

    message = refused(answer, 400, "invalid_request_error", "context_length_exceeded")["message"]
    head, _, tail = message.partition(" tokens > ")
    assert head.startswith("prompt is too long: ") and int(head.rpartition(" ")[2]) > 200_000
    assert tail == "200000 maximum"
