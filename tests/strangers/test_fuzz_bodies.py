"""POST /v1/messages takes any body: what is no request is refused cleanly, costs nothing, and leaves no memory behind.

Method: real sockets, a valid key, and a corpus: JSON that is deep, huge, odd or none, and the valid request with each
of its fields replaced in turn by values of every other kind. Then Hypothesis, with any bytes and any mutation.
"""

import gc
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway import MODEL
from tests.strangers.house import LAST, ON_ONE_DATABASE, House, answers, clean, heard, resident

MIB: Final = 1024 * 1024
BODY_BYTES_MAX: Final = 32 * MIB
RSS_GROWTH_MAX: Final = 400 * MIB
"""Generous: a body of 32 MiB is held as bytes, as JSON and as our own writing of it while it is answered, and what the
allocator keeps of that is used again. A corpus that leaked its bodies would add gigabytes."""

VALID: Final[dict[str, Any]] = {
    "model": MODEL,
    "max_tokens": 8,
    "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "seen"}]},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
            ],
        },
    ],
    "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "temperature": 0.5,
    "stop_sequences": ["x"],
    "metadata": {"user_id": "u"},
    "stream": False,
}

ODD: Final = {
    "null": "null", "true": "true", "zero": "0", "minus": "-1", "fraction": "0.5", "minus zero": "-0.0",
    "2^63": str(2**63), "2^64": str(2**64), "long integer": "9" * 600, "longest integer": "9" * 5_000,
    "exponent": "1e308", "over": "1e309", "tiny": "1e-999", "empty text": '""', "text": '"x"', "nul": '"\\u0000"',
    "surrogates": '"\\ud83d\\ude00"', "bidi": '"\\u202e"', "long text": f'"{"a" * 100_000}"', "array": "[]",
    "array of null": "[null]", "object": "{}", "odd keys": '{"":{"":[]},"__proto__":{"a":1},"\\u0000":1}',
    "deep": "[" * 200 + "]" * 200,
}  # fmt: skip
"""As they are written in JSON, since Python would not write some of them."""


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a document, but the whole of it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield (*path, name)
        yield from places(inner, (*path, name))


PLACES: Final = list(places(VALID))


def replaced(path: tuple[str | int, ...], written: str) -> bytes:
    """The valid request with something else at one place."""
    mark = "here it is"
    document = json.loads(json.dumps(VALID))
    holder = document
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = mark
    return json.dumps(document).replace(f'"{mark}"', written).encode()


DEEP: Final = 10_000
NOT_JSON: Final = {
    "nothing": b"", "spaces": b" \n\t ", "a nul": b"\0", "nuls": b"\0" * 4096, "a word": b"hello", "half": b'{"model":',
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(VALID).encode(), "utf-16": json.dumps(VALID).encode("utf-16"),
    "not utf-8": b'{"model":"\xff\xfe"}', "overlong utf-8": b'{"model":"\xc0\xaf"}',
    "half a code point": b'{"a":"\xe2"}',
    "an encoded surrogate": b'{"model":"\xed\xa0\x80"}', "a lone surrogate": b'{"model":"\\ud800"}',
    "a surrogate the wrong way": b'{"model":"\\udc00\\ud800"}', "a raw control": b'{"model":"a\nb"}',
    "two documents": b"{}{}", "a trailing comma": b'{"a":1,}', "a comment": b'{"a":1}//x', "single quotes": b"{'a':1}",
    "NaN": b'{"max_tokens":NaN}', "Infinity": b'{"max_tokens":Infinity}', "-Infinity": b'{"max_tokens":-Infinity}',
    "hex": b'{"max_tokens":0x10}', "leading zero": b'{"max_tokens":010}', "plus": b'{"max_tokens":+1}',
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "xml": b"<a/>", "a form": b"model=a&messages=b", "one quote": b'"',
    "arrays unclosed": b"[" * DEEP, "objects unclosed": b'{"a":' * DEEP, "arrays by the million": b"[" * MIB,
    "values by the million": b"[" + b"0," * 3_000_000 + b"0]", "a number": b"1" * MIB, "minus": b"-",
}  # fmt: skip
DEEP_JSON: Final = {
    "arrays": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "content": replaced(("messages", 0, "content"), "[" * DEEP + "]" * DEEP),
    "blocks": replaced(
        ("messages", 0, "content"), '[{"type":"tool_result","tool_use_id":"t","content":' * DEEP + '""' + "}]" * DEEP
    ),
    "a schema": replaced(
        ("tools", 0, "input_schema"), '{"type":"object","properties":{"a":' * DEEP + "{}" + "}}" * DEEP
    ),
    "an input": replaced(("messages", 1, "content", 0, "input"), '{"a":[' * DEEP + "1" + "]}" * DEEP),
    "metadata": replaced(("metadata",), '{"a":' * DEEP + "1" + "}" * DEEP),
    "300 levels": replaced(("metadata",), '{"a":' * 300 + "1" + "}" * 300),
}
WRONG_KIND: Final = {name: written.encode() for name, written in ODD.items()}


@pytest.fixture(scope="module")
def key(house: House) -> str:
    return house.key()


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=house.gate.base_url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def flat_memory(house: House, key: str) -> Iterator[None]:
    """Whatever this file says, the process is not much larger for it."""
    house.do(house.gate.message(key))
    before = resident()
    yield
    assert resident() - before < RSS_GROWTH_MAX


def post(client: httpx2.Client, key: str, body: bytes, **headers: str) -> httpx2.Response:
    named = {"x-api-key": key, "content-type": "application/json", **headers}
    return client.post("/v1/messages", content=body, headers=named)


@pytest.mark.parametrize("what", [*NOT_JSON])
def test_what_is_not_json_is_refused(house: House, client: httpx2.Client, key: str, what: str) -> None:
    with house.undisturbed():
        error = clean(post(client, key, NOT_JSON[what]), statuses=range(400, 401))
    assert error["details"]["error_code"] == "invalid_body"


@pytest.mark.parametrize("what", [*DEEP_JSON])
def test_what_is_nested_too_deep_is_refused_and_crashes_nothing(
    house: House, client: httpx2.Client, key: str, what: str
) -> None:
    with house.undisturbed():
        clean(post(client, key, DEEP_JSON[what]), statuses=range(400, 401))


@pytest.mark.parametrize("what", [*WRONG_KIND])
def test_a_body_of_another_kind_is_refused(house: House, client: httpx2.Client, key: str, what: str) -> None:
    with house.undisturbed():
        clean(post(client, key, WRONG_KIND[what]), statuses=range(400, 401))


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


def test_of_a_key_given_twice_upstream_reads_what_we_read(house: House, client: httpx2.Client, key: str) -> None:
    body = json.dumps(VALID).encode()
    for twice in (b'"max_tokens":8192,"max_tokens":1', b'"max_tokens":1,"\\u006dax_tokens":2'):
        answer = post(client, key, body.replace(b'"max_tokens": 8', twice))
        assert answer.status_code == 200
        sent = house.gate.upstream.log[-1].body
        assert len(re.findall(rb'"max_tokens"', sent)) == 1
        assert answer.headers["x-max-tokens-effective"] == str(json.loads(sent)["max_tokens"])
    with house.undisturbed():
        clean(post(client, key, body.replace(b'"max_tokens": 8', b'"max_tokens":1,"max_tokens":8193')))


KINDS: Final = ["", "text/plain", "application/xml", "multipart/form-data; boundary=x", "a" * 5_000,
                "application/json; charset=utf-16"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_body_is_json_whatever_it_is_called(house: House, client: httpx2.Client, key: str, kind: str) -> None:
    named = {"content-type": kind}
    assert post(client, key, json.dumps(VALID).encode(), **named).status_code == 200
    with house.undisturbed():
        clean(post(client, key, b"--x\r\n\r\n--x--", **named), statuses=range(400, 401))


def test_a_body_of_32_mib_is_read_and_one_byte_more_is_not(house: House, client: httpx2.Client, key: str) -> None:
    body = replaced(("messages", 0, "content"), '"x"')
    for size, statuses in ((BODY_BYTES_MAX, range(200, 201)), (BODY_BYTES_MAX + 1, range(413, 414))):
        padded = body + b" " * (size - len(body))
        rows = house.rows()
        answer = post(client, key, padded)
        assert answer.status_code in statuses
        if answer.status_code != 200:
            clean(answer, statuses=statuses)
            assert house.rows() == rows


def test_32_mib_of_text_are_more_than_any_model_reads(house: House, client: httpx2.Client, key: str) -> None:
    body = replaced(("messages", 0, "content"), '"@"')
    filled = body.replace(b"@", b"a" * (BODY_BYTES_MAX - len(body) + 1))
    for full in (filled, filled.replace(b"a", b"\xc3", 1)):
        with house.undisturbed():
            clean(post(client, key, full), statuses=range(400, 401))


@ON_ONE_DATABASE
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/quote", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("what", ["refused", "not json", "odd"])
def test_a_call_gives_its_memory_back_by_itself_and_needs_no_collector(
    house: House, key: str, path: str, what: str
) -> None:
    size = 8 * MIB
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {size}\r\n\r\n".encode()
    begun = {"refused": b'{"model":"', "not json": b'["', "odd": b'{"max_tokens":1.5,"messages":[],"model":"'}[what]
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
    """Any bytes, or the valid request with a few of its bytes taken out, doubled, or put in."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    body = bytearray(json.dumps(VALID).encode())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 30)))
        kind = draw(st.sampled_from(("cut", "double", "bytes", "odd", "json")))
        if kind == "cut":
            del body[start:end]
        elif kind == "double":
            body[start:start] = body[start:end]
        elif kind == "bytes":
            body[start:end] = draw(st.binary(max_size=8))
        elif kind == "odd":
            body[start:end] = draw(st.sampled_from([*ODD.values()])).encode()
        else:
            body = bytearray(replaced(draw(st.sampled_from(PLACES)), draw(st.sampled_from([*ODD.values()]))))
    return bytes(body)


@settings(max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(body=bodies())
def test_any_bytes_are_answered_or_cleanly_refused(house: House, client: httpx2.Client, key: str, body: bytes) -> None:
    answer = post(client, key, body)
    if answer.status_code != 200:
        clean(answer)


def test_after_all_of_it_the_gateway_still_answers_and_its_books_are_clean(house: House, key: str) -> None:
    assert house.say(LAST)[0].status_code == 200
    _, held = house.do(house.gate.books())
    assert held == 0
