"""The frame around a request: lengths, chunks, heads and targets that two readers could read differently.

Method: bytes on a socket, with a whole request for the price table in them where a body is or behind it. A server that
loses count answers that too, and its prices give it away; LAST behind all of it shows whether the connection was kept.
On one database: what is asked here is how bytes become a request, and only what became one reaches a ledger.
"""

from typing import Final

import msgspec
import pytest

from tests.gateway import ASK
from tests.strangers.house import LAST, ON_ONE_DATABASE, House, answers, clean, heard

pytestmark = ON_ONE_DATABASE

BODY: Final = msgspec.json.encode(ASK)
HIDDEN: Final = b"GET /v1/pricing HTTP/1.1\r\nhost: x\r\n\r\n"
TOLD: Final = "USD per million"
"""What answers HIDDEN, and nothing else that is asked here."""

POST: Final = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\n"
CHUNKED: Final = POST + b"transfer-encoding: chunked\r\n\r\n"
CHUNK: Final = b"%x\r\n%b\r\n" % (len(BODY), BODY)
LENGTH: Final = b"content-length: %d\r\n" % len(BODY)


def sized(head: bytes, body: bytes = BODY) -> bytes:
    return POST + head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def coded(coding: bytes) -> bytes:
    return POST + coding + b"\r\n\r\n" + CHUNK + b"0\r\n\r\n"


TWO_READINGS: Final = {
    "length and chunks": POST + LENGTH + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"transfer-encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n",
    "two lengths": POST + LENGTH + b"content-length: 3\r\n\r\n" + BODY,
    "the same length twice": POST + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": POST + b"content-length: 3, 3\r\n\r\n" + BODY,
    "a length below zero": POST + b"content-length: -1\r\n\r\n" + BODY,
    "a length with a plus": POST + b"content-length: +3\r\n\r\n" + BODY,
    "a hex length": POST + b"content-length: 0x10\r\n\r\n" + BODY,
    "a length with a fraction": POST + b"content-length: 3.0\r\n\r\n" + BODY,
    "a length in words": POST + b"content-length: many\r\n\r\n" + BODY,
    "a length over 64 bits": POST + b"content-length: 99999999999999999999999\r\n\r\n" + BODY,
    "a space before the colon": POST + b"content-length : 3\r\n\r\n" + BODY,
    "another coding alone": coded(b"transfer-encoding: gzip"),
    "a coding after chunked": coded(b"transfer-encoding: chunked, gzip"),
    "chunked twice": coded(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
    "nearly chunked": coded(b"transfer-encoding: xchunked"),
    "identity": coded(b"transfer-encoding: identity"),
    "a vertical tab": coded(b"transfer-encoding: \x0bchunked"),
    "quoted": coded(b'transfer-encoding: "chunked"'),
    "no size": CHUNKED + b"\r\n" + CHUNK + b"0\r\n\r\n",
    "a size that is none": CHUNKED + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size below zero": CHUNKED + b"-5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size as 0x": CHUNKED + b"0x5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size over 64 bits": CHUNKED + b"f" * 20 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size too small": CHUNKED + b"5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size too large": CHUNKED + b"%x\r\n" % (len(BODY) + 10) + BODY + b"\r\n0\r\n\r\n",
    "a size with a space": CHUNKED + b"%x \r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    "chunks with bare line feeds": CHUNKED + b"%x\n" % len(BODY) + BODY + b"\n0\n\n",
    "a line feed in an extension": CHUNKED + b"%x;a\n0\r\n\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    "a trailer with a length": CHUNKED + CHUNK + b"0\r\ncontent-length: 5\r\n\r\n",
    "a trailer with a coding": CHUNKED + CHUNK + b"0\r\ntransfer-encoding: chunked\r\n\r\n",
    "bare line feeds": sized(b"").replace(b"\r\n", b"\n"),
    "bare carriage returns": sized(b"").replace(b"\r\n", b"\r"),
    "a folded header": sized(b"x-a: b\r\n c\r\n"),
    "a folded key": POST.replace(b"key: ", b"key:\r\n ") + LENGTH + b"\r\n" + BODY,
    "a nul in a header": sized(b"x-a: a\0b\r\n"),
    "a carriage return in a header": sized(b"x-a: a\rb\r\n"),
    "a space in a header's name": sized(b"x a: b\r\n"),
    "a header without a name": sized(b": b\r\n"),
    "a header without a colon": sized(b"nothing\r\n"),
    "a control character in a version": sized(b"anthropic-version: a\x01b\r\n"),
    "a method that is none": b"FOO /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "a method in small letters": b"get /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "a version that is none": b"GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n",
    "http/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "no slash": b"GET healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path in 8 bits": b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "a control character in a path": b"GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a space in a path": b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n",
    "an address that is none": b"GET http://user:pw@[::1]:x/healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def key(house: House) -> bytes:
    return house.key().encode()


def keyed(data: bytes, key: bytes) -> bytes:
    """With the key put in, and the length of nothing changed by it: KEY stands in a header only."""
    return data.replace(b"KEY", key)


@pytest.mark.parametrize("what", [*TWO_READINGS])
def test_what_two_readers_could_read_differently_is_refused_and_nothing_behind_it_is_read(
    house: House, key: bytes, what: str
) -> None:
    with house.undisturbed():
        found = house.say(keyed(TWO_READINGS[what], key) + HIDDEN + LAST)
    error = clean(found[0], statuses=range(400, 401))
    assert error["details"]["error_code"] == "invalid_body"
    assert found[0].headers["connection"] == "close"
    assert len(found) == 1


HEADS: Final = [b"", b"x-api-key: no\r\n", b"x-api-key: KEY\r\n", b"x-api-key: KEY\r\ncontent-encoding: gzip\r\n"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/messages/quote", b"/v1/nothing"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in two pieces"])
def test_a_request_whose_body_breaks_is_answered_once(
    house: House, key: bytes, head: bytes, path: bytes, *, at_once: bool
) -> None:
    begun = b"POST %b HTTP/1.1\r\nhost: x\r\n%btransfer-encoding: chunked\r\n\r\n" % (path, keyed(head, key))
    broken = b"zz\r\n" + HIDDEN
    with house.undisturbed(), house.line() as line:
        line.sendall(begun + broken if at_once else begun)
        if not at_once:
            # Most are refused for their head alone, and answered before the body breaks.
            waits = b"KEY" in head and b"gzip" not in head and path != b"/v1/nothing"
            early = b"" if waits else line.recv(1 << 16)
            line.sendall(broken)
        else:
            early = b""
        (answer,) = answers(early + heard(line))
    clean(answer)


UNENDED: Final = {
    "a body that is too short": POST + b"content-length: 500\r\n\r\n" + BODY,
    "chunks without an end": CHUNKED + CHUNK,
    "half an end": CHUNKED + CHUNK + b"0\r\n",
    "a chunk of 2^63": CHUNKED + b"7fffffffffffffff\r\n" + BODY,
    "a head without an end": POST,
    "half a line": b"POST /v1/mess",
}


@pytest.mark.parametrize("what", [*UNENDED])
def test_what_never_comes_to_its_end_is_no_call(house: House, key: bytes, what: str) -> None:
    with house.undisturbed():
        assert house.say(keyed(UNENDED[what], key), hang_up=True) == []


INSIDE: Final = {
    "no key": (401, b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n", HIDDEN),
    "a bad key": (401, b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: no\r\n", HIDDEN),
    "no such path": (404, b"POST /v1/nothing HTTP/1.1\r\nhost: x\r\n", HIDDEN),
    "no such method": (405, b"PUT /v1/messages HTTP/1.1\r\nhost: x\r\n", HIDDEN),
    "packed": (415, POST + b"content-encoding: gzip\r\n", HIDDEN),
    "not json": (400, POST, HIDDEN),
    "not json, and much of it": (400, POST, HIDDEN * 20_000),
    "no such model": (404, POST, BODY.replace(b"claude", b"clawed")),
    "a header that is none": (400, POST + b"x-credits-limit: much\r\n", BODY),
    "too dear": (402, POST + b"x-credits-limit: 0\r\n", BODY),
    "not asked to go on": (401, b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n", HIDDEN),
    "get with a body": (200, b"GET /healthz HTTP/1.1\r\nhost: x\r\n", HIDDEN),
    "options with a body": (405, b"OPTIONS /v1/messages HTTP/1.1\r\nhost: x\r\n", HIDDEN),
}  # fmt: skip


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("what", [*INSIDE])
def test_the_body_of_a_refused_request_is_never_read_as_the_next_one(
    house: House, key: bytes, what: str, *, chunked: bool
) -> None:
    status, head, body = INSIDE[what]
    if chunked:
        framed = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        framed = b"content-length: %d\r\n\r\n%b" % (len(body), body)
    with house.undisturbed():
        first, *rest = house.say(keyed(head, key) + framed + LAST)
    assert first.status_code == status
    assert not any(TOLD in answer.text for answer in (first, *rest))
    assert [answer.json() for answer in rest] in ([], [{"status": "ok"}]), "LAST is answered, or the connection closed"


@pytest.mark.parametrize("length", [33_554_433, 2**62, 2**63 - 1])
def test_an_announced_length_over_the_limit_is_refused_before_it_comes(house: House, key: bytes, length: int) -> None:
    with house.undisturbed():
        head = keyed(POST, key) + b"content-length: %d\r\n\r\n" % length
        (answer,) = house.say(head + HIDDEN + LAST, hang_up=True)
    clean(answer, statuses=range(413, 414))


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"deflate, chunked", b"x, chunked"])
def test_a_coding_that_we_do_not_undo_is_refused(house: House, key: bytes, coding: bytes) -> None:
    with house.undisturbed():
        answer, last = house.say(keyed(coded(b"transfer-encoding: " + coding), key) + LAST)
    assert "transfer-encoding" in clean(answer, statuses=range(415, 416))["message"]
    assert last.status_code == 200


READ_ALIKE: Final = {
    "chunks with extensions": CHUNKED + b"%x;a=b;c=\"d\"\r\n" % len(BODY) + BODY + b"\r\n0;e\r\n\r\n",
    "one byte at a time": CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
    "zeros before a size": CHUNKED + b"0000%x\r\n" % len(BODY) + BODY + b"\r\n0000\r\n\r\n",
    "a coding in capitals": coded(b"Transfer-Encoding: CHUNKED"),
    "a tab before a value": coded(b"transfer-encoding:\tchunked"),
    "a trailer": CHUNKED + CHUNK + b"0\r\nx-a: b\r\n\r\n",
    "8 bits in a version": sized(b"anthropic-version: \xff\xfe\r\n"),
    "8 bits in a beta": sized(b"anthropic-beta: \xff\xfe\r\n"),
    "another server's address": sized(b"").replace(b"POST /", b"POST http://elsewhere.example/", 1),
    "another host": sized(b"host: elsewhere.example\r\n"),
    "a query": sized(b"").replace(b"/messages", b"/messages?beta=true&x=%00%ff", 1),
    "it waits to be asked": sized(b"expect: 100-continue\r\n"),
    "many headers": sized(b"a: b\r\n" * 5_000),
}  # fmt: skip


@pytest.mark.parametrize("what", [*READ_ALIKE])
def test_what_is_odd_but_has_one_meaning_is_one_call(house: House, key: bytes, what: str) -> None:
    asked = house.asked
    found = house.say(keyed(READ_ALIKE[what], key) + HIDDEN + LAST)

    assert [answer.status_code for answer in found] == [200, 200, 200]
    assert found[0].json()["type"] == "message" and TOLD in found[1].text
    assert house.asked == asked + 1
    assert house.held() == 0


@pytest.mark.parametrize("header", [b"anthropic-version", b"anthropic-beta"])
def test_what_is_forwarded_cannot_bring_a_header_of_its_own_to_upstream(
    house: House, key: bytes, header: bytes
) -> None:
    for value in (
        b"2023-06-01%0d%0ax-injected: 1",
        b"2023-06-01\\r\\nx-injected: 1",
        b"a\tb",
        b"\xe5\x98\x8a\xe5\x98\x8d",
    ):
        answer, _ = house.say(keyed(sized(header + b": " + value + b"\r\n"), key) + LAST)
        assert answer.status_code == 200
        sent = house.gate.upstream.log[-1].headers
        assert "x-injected" not in sent
        assert sent[header.decode()] == value.decode("latin-1")
        assert key.decode() not in sent.values()


@pytest.mark.parametrize("size", [1_000, 60_000, 70_000, 1_000_000])
@pytest.mark.parametrize("where", ["path", "query", "header", "name"])
def test_a_long_line_is_refused_or_harmless(house: House, size: int, where: str) -> None:
    long = b"a" * size
    lines = {
        "path": b"GET /%b HTTP/1.1\r\n",
        "query": b"GET /healthz?%b HTTP/1.1\r\n",
        "header": b"GET /healthz HTTP/1.1\r\nx: %b\r\n",
        "name": b"GET /healthz HTTP/1.1\r\n%b: x\r\n",
    }
    with house.undisturbed():
        first, *_ = house.say(lines[where] % long + b"host: x\r\n\r\n" + LAST)
    if where == "path" or size == 1_000_000:
        clean(first)
    assert len(first.content) < 1_000, "what is refused is not echoed at length"
