"""POST /v1/chat/completions takes any body, too: what is no request is refused in OpenAI's envelope and leaves nothing.

Method: as in test_fuzz_bodies, whose odd values and broken bytes are said here by the other door.
"""

import gc
import json
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway import MODEL
from tests.strangers.house import LAST, ON_ONE_DATABASE, House, answers, heard, resident
from tests.strangers.test_fuzz_bodies import DEEP, MIB, NOT_JSON, ODD, places

PATH: Final = "/v1/chat/completions"
VALID: Final[dict[str, Any]] = {
    "model": MODEL,
    "max_completion_tokens": 8,
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": "Hello", "name": "ada"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "seen"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8=", "detail": "low"}}],
        },
    ],
    "tools": [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "stop": ["x"],
    "user": "u",
    "n": 1,
    "stream": False,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "reasoning_effort": "low",
    "seed": 1,
}
PLACES: Final = list(places(VALID))


def replaced(path: tuple[str | int, ...], written: str) -> bytes:
    mark = "here it is"
    document = json.loads(json.dumps(VALID))
    holder = document
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = mark
    return json.dumps(document).replace(f'"{mark}"', written).encode()


@pytest.fixture(scope="module")
def key(house: House) -> str:
    return house.key()


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=house.gate.base_url, timeout=60, trust_env=False) as client:
        yield client


def post(client: httpx2.Client, key: str, body: bytes) -> httpx2.Response:
    return client.post(PATH, content=body, headers={"authorization": f"Bearer {key}"})


def clean(answer: httpx2.Response) -> dict[str, Any]:
    """Check that this is a refusal in OpenAI's envelope; give its error."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text[:300]}"
    body = json.loads(answer.content)
    error: dict[str, Any] = body["error"]
    assert error["message"] and error["type"] and error["code"] == error["details"]["error_code"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"] == body["request_id"]
    return error


def test_the_request_that_is_mangled_is_a_good_one(client: httpx2.Client, key: str) -> None:
    answer = post(client, key, json.dumps(VALID).encode())
    assert (answer.status_code, answer.headers["x-dropped-parameters"]) == (200, "seed, reasoning_effort")


@pytest.mark.parametrize("what", [*NOT_JSON])
def test_what_is_not_json_is_refused(house: House, client: httpx2.Client, key: str, what: str) -> None:
    with house.undisturbed():
        assert clean(post(client, key, NOT_JSON[what]))["code"] == "invalid_body"


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_every_field_replaced_by_every_odd_value_is_answered_or_refused(
    house: House, client: httpx2.Client, key: str, path: tuple[str | int, ...]
) -> None:
    for name, written in ODD.items():
        rows, asked = house.rows(), house.asked
        answer = post(client, key, replaced(path, written))
        if answer.status_code == 200:
            assert house.asked == asked + 1, name
        else:
            clean(answer)
            assert (house.rows(), house.asked) == (rows, asked), name
    assert house.held() == 0


@pytest.mark.parametrize("depth", [254, 256, 300, DEEP])
def test_arguments_may_be_deep_within_a_string_and_crash_nothing(
    house: House, client: httpx2.Client, key: str, depth: int
) -> None:
    arguments = '{"a":' * depth + "1" + "}" * depth
    path = ("messages", 2, "tool_calls", 0, "function", "arguments")
    with house.undisturbed():
        answer = post(client, key, replaced(path, json.dumps(arguments)))
        clean(answer)


@ON_ONE_DATABASE
@pytest.mark.parametrize("what", ["refused", "not json", "odd"])
def test_a_call_gives_its_memory_back_by_itself_and_needs_no_collector(house: House, key: str, what: str) -> None:
    size = 8 * MIB
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {size}\r\n\r\n".encode()
    begun = {"refused": b'{"messages":[],"model":"', "not json": b'["', "odd": b'{"n":2,"model":"'}[what]
    large = begun + b"x" * (size - len(begun) - 2) + b'"}'

    def say() -> None:
        with house.line() as line:
            for data in (head, large, LAST):
                line.sendall(data)
            refused, _ = answers(heard(line))
        clean(refused)

    gc.collect()
    gc.disable()
    try:
        for _ in range(4):
            say()
        before = resident()
        for _ in range(16):
            say()
        assert resident() - before < 8 * size, "16 bodies that stayed would be twice that"
    finally:
        gc.enable()


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """The valid request with a few of its bytes taken out, doubled, or put in, or with an odd value in one place."""
    if draw(st.booleans()):
        return replaced(draw(st.sampled_from(PLACES)), draw(st.sampled_from([*ODD.values()])))
    body = bytearray(json.dumps(VALID).encode())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 30)))
        body[start:end] = draw(st.sampled_from([b"", bytes(body[start:end]) * 2]) | st.binary(max_size=8))
    return bytes(body)


@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(body=bodies())
def test_any_bytes_are_answered_or_cleanly_refused(house: House, client: httpx2.Client, key: str, body: bytes) -> None:
    answer = post(client, key, body)
    if answer.status_code != 200:
        clean(answer)


def test_after_all_of_it_the_gateway_still_answers_and_its_books_are_clean(house: House, key: str) -> None:
    assert house.say(LAST)[0].status_code == 200
    _, held = house.do(house.gate.books())
    assert held == 0
