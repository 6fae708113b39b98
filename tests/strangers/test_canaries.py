"""No key, prompt or answer stands where nobody asked for it: no log, metric, error, admin answer or file has one.

Method: a gateway at log level debug. Words that occur nowhere else are put into keys, prompts, tools, headers and
answers; calls go well, are refused, fail upstream in every way, are told their own words back by upstream, and crash
inside of the gateway. Then everything that it has written is read and searched, in the forms that bytes may take: its
log, its files, and every value of every row, on each of the two databases.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from faregate.edge.openapi import ROOT
from faregate.edge.verbs import VERBS
from faregate.upstreams.port import Ask
from faregate.upstreams.script import End, Play, Seen, events, failure, frames_of, plain, stream
from tests.gateway import MODEL, UPSTREAM_KEY, ask
from tests.strangers.house import ADMIN_TOKEN, LAST, House, clean, opened

PROMPT: Final = "canary-prompt-7b1f"
ANSWER: Final = "canary-answer-93ce"
TOOL: Final = "canary-tool-2d40"
HEADER: Final = "canary-header-55aa"
REFUSED: Final = "sk-fare-canaryCanary_" + "c" * 38
SAID: Final = (PROMPT, ANSWER, TOOL)

MESSAGE: Final[dict[str, Any]] = {
    "id": "msg_up", "type": "message", "role": "assistant", "model": MODEL,
    "content": [{"type": "text", "text": f"{ANSWER} {PROMPT} " * 8}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 7},
}  # fmt: skip
"""A stream of it has eight deltas, each with both of the words in it whole."""
BODY: Final = ask(
    system=f"Say {PROMPT}",
    messages=[{"role": "user", "content": f"Hello {PROMPT}"}],
    tools=[{"name": "look", "description": TOOL, "input_schema": {"type": "object"}}],
    metadata={"user_id": PROMPT},
)
BROKEN: Final = (
    {"messages": [{"role": "user", "content": [{"type": PROMPT}]}]}, {"max_tokens": 10**6}, {"temperature": PROMPT},
    {"model": "no-such-model"}, {"messages": PROMPT}, {"tools": [{"name": TOOL}]}, {"thinking": {"type": PROMPT}},
)  # fmt: skip


def told_back(seen: Seen) -> str:
    """What an upstream that tells everything would say of a request."""
    return f"you sent {seen.headers} with {seen.body.decode('utf-8', 'replace')}"


def plays() -> Iterator[Any]:
    """How upstream may answer: each is a function from what it saw to what it plays."""
    for status, kind in ((400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
                         (404, "not_found_error"), (413, "request_too_large"), (429, "rate_limit_error"),
                         (500, "api_error"), (503, "api_error"), (529, "overloaded_error")):  # fmt: skip
        yield lambda seen, status=status, kind=kind: failure(status, kind, told_back(seen))
    yield lambda seen: Play(status=500, content_type="text/html", frames=(told_back(seen).encode(),))
    yield lambda seen: Play(status=200, frames=(told_back(seen).encode(),))
    yield lambda seen: Play(status=302, headers=(("location", f"http://elsewhere.example/{PROMPT}"),))
    yield lambda _: msgspec.structs.replace(stream(MESSAGE), ending=End.CUT, ending_after=4)
    yield lambda _: msgspec.structs.replace(stream(MESSAGE), ending=End.RESET, ending_after=3)
    yield lambda _: msgspec.structs.replace(stream(MESSAGE), ending=End.GARBAGE, ending_after=4)
    yield lambda seen: events([*frames_of(MESSAGE)[:3], b"event: error\ndata: " + json.dumps({
        "type": "error", "error": {"type": "api_error", "message": told_back(seen)}}).encode() + b"\n\n"])  # fmt: skip
    yield lambda seen: events([b"event: message_start\ndata: " + told_back(seen).encode() + b"\n\n"])
    yield lambda _: Play(raw=f"HTTP/1.1 {PROMPT}\r\n\r\n".encode(), ending=End.CUT)


class Crashing:
    """An upstream of the port with a fault in its code, and everything that must not be told in its error."""

    name = "fake"
    embedded = False

    async def send(self, ask: Ask) -> Any:
        raise ZeroDivisionError("a fault of ours")

    async def count_tokens(self, ask: Ask) -> int | None:
        raise ZeroDivisionError("a fault of ours")

    def healthy(self) -> bool:
        return True


def session(house: House) -> tuple[str, list[str]]:
    """Live through all of it; give the key, and every error that a caller was told."""
    key = house.key("main")
    told: list[str] = []

    def call(body: Any = BODY, **headers: str) -> None:
        sent = {"x_canary": HEADER, "anthropic_beta": HEADER, **headers}
        for path in ("/v1/messages", "/v1/messages/quote", "/v1/messages/count_tokens"):
            answer = house.do(house.gate.post(path, key, body, **sent))
            if answer.status_code != 200:
                told.append(answer.text)
        streamed = house.do(house.gate.stream(key, body, **sent))
        if streamed.status_code != 200:
            told.append(streamed.body.decode())
        told.extend(json.dumps(event) for event in streamed.events if event["type"] == "error")

    def goes_well(seen: Seen) -> Play | None:
        if not seen.path.endswith("/messages"):
            return None
        return stream(MESSAGE) if b'"stream":true' in seen.body else plain(MESSAGE)

    house.gate.upstream.play(goes_well)
    call()
    answered = house.do(house.gate.message(key, BODY, idempotency_key="once")).content
    assert ANSWER.encode() in answered, "else it would be looked for in vain"
    streamed = house.do(house.gate.stream(key, BODY, idempotency_key="stream")).body
    assert ANSWER.encode() in streamed
    house.do(house.gate.message(key, BODY, idempotency_key="once"))
    for play in plays():
        house.gate.upstream.play(play)
        call()
    for broken in BROKEN:
        call({**BODY, **broken})
    for nonsense in (f'{{"{PROMPT}":'.encode(), PROMPT.encode(), b"\xff" + PROMPT.encode()):
        told.append(house.do(house.gate.message(key, nonsense)).text)
    house.do(house.gate.message(REFUSED, BODY))
    house.say(f"GET /{PROMPT} HTTP/1.1\r\nx-api-key: {REFUSED}\r\n{PROMPT}\r\n\r\n".encode() + LAST)
    return key, told


@pytest.fixture(scope="module")
def told(module_folder: Path) -> dict[str, Any]:
    """All that a gateway wrote in such a life, by where it was written."""
    folder, log = module_folder, module_folder / "log"
    with pytest.MonkeyPatch.context() as patch, log.open("w") as written:
        patch.setattr("sys.stderr", written)
        toml = "[retry]\nattempts_max = 2\nbudget_s = 0.0\n"
        with opened(folder, toml=toml, environ={"FAREGATE_LOG_LEVEL": "debug"}) as house:
            key, errors = session(house)
            good = dict(house.gate.running.gate.upstreams)
            patch.setitem(house.gate.running.gate.upstreams, "fake", Crashing())
            for path in ("/v1/messages", "/v1/messages/count_tokens"):
                crashed = house.do(house.gate.post(path, key, BODY))
                assert clean(crashed, statuses=range(500, 501))
                errors.append(crashed.text)
            house.gate.running.gate.upstreams.update(good)  # type: ignore[attr-defined]
            metrics = house.do(house.gate.get("/metrics")).text
            reads = [house.do(house.gate.get(path, key)).text for path in ("/v1/usage?limit=1000", "/v1/wallet")]
            admin = [asked(house, verb.path) for verb in VERBS if verb.method == "GET"]
            rows = house.kept()
    files = b"".join(file.read_bytes() for file in sorted((folder / "home").rglob("*")) if file.is_file())
    return {"key": key, "errors": errors, "log": log.read_text(), "metrics": metrics, "reads": reads, "admin": admin,
            "files": files, "rows": rows}  # fmt: skip


def asked(house: House, path: str) -> str:
    head = (
        f"GET {ROOT}{path.replace('{name}', 'main')} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    )
    return house.say(head.encode() + LAST, to=house.admin_url)[0].text


def forms(word: str) -> Iterator[bytes]:
    """A word as it may stand in what was written: plain, as hex, in base64 at each of three offsets, as UTF-16."""
    plain = word.encode()
    yield from (plain, plain.hex().encode(), plain.hex().upper().encode(), word.encode("utf-16-le"))
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + plain)
        yield coded[offset * 2 : -4]  # Its ends depend on what stands beside it.


def found(word: str, text: str | bytes) -> list[bytes]:
    data = text.encode() if isinstance(text, str) else text
    return [form for form in forms(word) if form in data]


def secrets(told: dict[str, Any]) -> tuple[str, ...]:
    key = told["key"]
    return (key, key.partition("_")[2], key[21:53], REFUSED, UPSTREAM_KEY, ADMIN_TOKEN)


def test_the_log_was_written_and_tells_of_each_kind_of_trouble(told: dict[str, Any]) -> None:
    """Else the searches below would find nothing in nothing."""
    assert told["log"].count("\n") > 60
    for word in ("ZeroDivisionError", "Traceback", "upstream_error", "invalid_api_key", '"status":200'):
        assert word in told["log"], word


def test_the_rows_were_read_and_tell_of_the_calls(told: dict[str, Any]) -> None:
    for value in (b"once", MODEL.encode(), told["key"][8:20].encode(), b"gateway_error", b"upstream_error"):
        assert value in told["rows"].split(b"\n"), value


@pytest.mark.parametrize("where", ["log", "metrics", "files", "rows"])
def test_no_key_prompt_answer_or_header_is_in(told: dict[str, Any], where: str) -> None:
    for word in (*SAID, HEADER, *secrets(told)):
        assert found(word, told[where]) == [], f"{word} in the {where}"


@pytest.mark.parametrize("where", ["reads", "admin"])
def test_what_reads_back_calls_shows_none_of_what_was_said_in_them(told: dict[str, Any], where: str) -> None:
    for answer in told[where]:
        for word in (*SAID, HEADER, *secrets(told)):
            assert found(word, answer) == []


def test_an_error_never_carries_a_key_of_ours_or_of_the_caller(told: dict[str, Any]) -> None:
    assert len(told["errors"]) > 60
    for error in told["errors"]:
        for word in (*secrets(told), "127.0.0.1"):
            assert found(word, error) == [], error[:300]


def test_what_was_looked_for_would_be_found(told: dict[str, Any]) -> None:
    for word in (PROMPT, told["key"]):
        for around in (word, f"x{word}y", base64.b64encode(f"ab{word}cdef".encode()).decode(), word.encode().hex()):
            assert found(word, around) != []
