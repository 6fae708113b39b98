"""An answer means the same however the network cuts it, ends cleanly only when it is whole, and leaves a clean line.

Method: a Connection is driven by hand through asyncio's protocol callbacks, with a stand-in for asyncio's transport;
all that it reads is given before it is asked, so nothing here waits. Real sockets are in test_transport.
"""

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.upstreams.connection import HEAD_BYTES_MAX
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import Timeouts
from tests.upstreams.wires import Exchange, drain, fault_of, now


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
LENGTH = HEAD + b"content-length: 11\r\n\r\nhello world"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n"
CLOSED = HEAD + b"\r\nhello world"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
FRAMED = [LENGTH, CHUNKED, INTERIM + LENGTH, INTERIM + CHUNKED]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds) if start < end]


@pytest.mark.parametrize("wire", FRAMED)
def test_an_answer_split_at_any_one_byte_is_the_same_answer(loop: asyncio.AbstractEventLoop, wire: bytes) -> None:
    for at in range(1, len(wire)):
        exchange = Exchange(loop).feed(wire[:at], wire[at:])
        assert exchange.body() == b"hello world"
        assert exchange.reply.status == 200
        assert exchange.reply.headers["content-type"] == "text/plain"
        assert "link" not in exchange.reply.headers
        assert "x-trailer" not in exchange.reply.headers
        assert exchange.kept


@given(data=st.data(), wire=st.sampled_from([*FRAMED, CLOSED]))
def test_an_answer_split_anywhere_any_number_of_times_is_the_same_answer(data: st.DataObject, wire: bytes) -> None:
    loop = asyncio.new_event_loop()
    try:
        at = data.draw(st.lists(st.integers(1, len(wire) - 1), max_size=12, unique=True))
        exchange = Exchange(loop).feed(*cut(wire, at))
        if wire is CLOSED:
            exchange.eof()
        assert exchange.body() == b"hello world"
    finally:
        loop.close()


@pytest.mark.parametrize("wire", FRAMED)
@pytest.mark.parametrize("exc", [None, ConnectionResetError("reset")])
def test_a_framed_answer_cut_at_any_byte_is_reset_and_never_a_clean_end(
    loop: asyncio.AbstractEventLoop, wire: bytes, exc: Exception | None
) -> None:
    for at in range(len(wire)):
        exchange = Exchange(loop).feed(wire[:at]).eof(exc)
        got = b""
        with pytest.raises(Fault) as caught:
            while True:
                piece = now(exchange.reply.read())
                assert piece, f"a clean end after {at} of {len(wire)} bytes"
                got += piece
        assert caught.value.kind is FaultKind.RESET
        assert b"hello world".startswith(got)
        assert not exchange.kept


def test_an_answer_without_framing_ends_with_its_connection_but_not_with_a_reset(
    loop: asyncio.AbstractEventLoop,
) -> None:
    assert Exchange(loop).feed(CLOSED).eof().body() == b"hello world"
    assert not Exchange(loop).feed(CLOSED).eof().kept
    assert fault_of(Exchange(loop).feed(CLOSED).eof(ConnectionResetError())) is FaultKind.RESET
    assert fault_of(Exchange(loop).feed(HEAD).eof()) is FaultKind.RESET


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nhi",
        OK + b"content-length: -2\r\n\r\nhi",
        OK + b"content-length: 99999999999999999999999\r\n\r\nhi",
        OK + b"content-length: 0x2\r\n\r\nhi",
        OK + b"transfer-encoding: gzip\r\n\r\nhi",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi!!\r\n0\r\n\r\n",
        OK + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nhi",
        OK + b"content-encoding: br\r\n\r\nhi",
        OK + b"x : y\r\ncontent-length: 2\r\n\r\nhi",
        OK + b"x: y\r\n folded\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
        b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/0.9 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 099 Low\r\ncontent-length: 2\r\n\r\nhi",
    ],
)
def test_what_is_not_well_framed_http_is_a_protocol_fault_and_its_connection_is_closed(
    loop: asyncio.AbstractEventLoop, wire: bytes
) -> None:
    for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
        exchange = Exchange(loop).feed(*pieces)
        if not exchange.wire.aborted:
            exchange.eof()
        assert fault_of(exchange) is FaultKind.PROTOCOL
        assert exchange.wire.aborted
        assert not exchange.owner.free


@settings(max_examples=300)
@given(pieces=st.lists(st.binary(max_size=60), max_size=6), well_begun=st.booleans())
def test_no_bytes_whatever_raise_anything_but_a_fault(pieces: list[bytes], *, well_begun: bool) -> None:
    loop = asyncio.new_event_loop()
    try:
        exchange = Exchange(loop).feed(*([CHUNKED[:70]] if well_begun else []), *pieces).eof()
        try:
            exchange.body()
        except Fault as fault:
            assert fault.kind in (FaultKind.PROTOCOL, FaultKind.RESET)
    finally:
        loop.close()


def test_a_status_line_of_identity_and_empty_answers_are_fine(loop: asyncio.AbstractEventLoop) -> None:
    assert Exchange(loop).feed(OK + b"content-encoding: identity\r\ncontent-length: 2\r\n\r\nhi").body() == b"hi"
    assert Exchange(loop).feed(OK + b"content-length: 0\r\n\r\n").body() == b""
    assert Exchange(loop).feed(b"HTTP/1.1 204 No Content\r\n\r\n").body() == b""
    assert Exchange(loop).feed(OK + b"TRANSFER-ENCODING: Chunked\r\n\r\n0\r\n\r\n").body() == b""


def test_headers_that_come_twice_are_joined_in_order_under_lower_case_names(loop: asyncio.AbstractEventLoop) -> None:
    exchange = Exchange(loop).feed(OK + b"Via: a\r\nVIA: b\r\nX-Latin: \xe9\r\ncontent-length: 0\r\n\r\n")
    assert exchange.reply.headers == {"via": "a, b", "x-latin": "é", "content-length": "0"}


def over_the_bound(prefix: bytes, line: bytes) -> list[bytes]:
    return [prefix, *[line] * (HEAD_BYTES_MAX // len(line) + 1)]


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"x: " + b"a" * HEAD_BYTES_MAX + b"\r\ncontent-length: 0\r\n\r\n"],
        [OK + b"x: y\r\n" * (HEAD_BYTES_MAX // 6 + 1) + b"content-length: 0\r\n\r\n"],
        over_the_bound(OK + b"x: ", b"a" * 1000),
        over_the_bound(OK, b"x: " + b"y" * 100 + b"\r\n"),
        over_the_bound(b"", INTERIM),
        over_the_bound(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: " + b"y" * 100 + b"\r\n"),
        over_the_bound(OK + b"transfer-encoding: chunked\r\n\r\n5;", b"x" * 1000),
        over_the_bound(b"HTTP/1.1 200 ", b"x" * 1000),
    ],
    ids=["value", "many", "dripped-value", "dripped-many", "interim", "trailers", "chunk-extension", "reason"],
)
def test_a_head_or_framing_without_end_is_stopped_at_its_bound(
    loop: asyncio.AbstractEventLoop, pieces: list[bytes]
) -> None:
    exchange = Exchange(loop).feed(*pieces)
    assert exchange.wire.aborted
    assert fault_of(exchange) is FaultKind.PROTOCOL


def test_a_long_body_in_small_pieces_is_not_mistaken_for_a_long_head(loop: asyncio.AbstractEventLoop) -> None:
    size = 4 * HEAD_BYTES_MAX
    exchange = Exchange(loop).feed(OK + b"content-length: %d\r\n\r\n" % size, *[b"x" * 1024] * (size // 1024))
    assert len(exchange.body()) == size


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        (LENGTH, True),
        (CHUNKED, True),
        (OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", False),
        (LENGTH + b"H", False),
        (LENGTH + b"junk", False),
        (LENGTH + LENGTH, False),
    ],
)
def test_a_connection_is_kept_only_when_nothing_was_left_behind(
    loop: asyncio.AbstractEventLoop, wire: bytes, *, kept: bool
) -> None:
    exchange = Exchange(loop).feed(wire)
    assert exchange.body() in (b"hello world", b"hi")
    assert exchange.kept is kept
    assert exchange.wire.aborted is not kept


def test_a_connection_with_part_of_its_request_unsent_is_not_kept(loop: asyncio.AbstractEventLoop) -> None:
    exchange = Exchange(loop)
    exchange.wire.unsent = 1
    exchange.feed(LENGTH)
    assert exchange.body() == b"hello world"
    assert not exchange.kept
    assert exchange.wire.aborted


def test_bytes_on_an_idle_connection_close_it_and_reach_no_later_answer(loop: asyncio.AbstractEventLoop) -> None:
    exchange = Exchange(loop).feed(LENGTH)
    assert exchange.kept
    exchange.feed(LENGTH)
    assert exchange.wire.aborted
    assert not exchange.connection.usable


def test_a_connection_serves_one_exchange_after_another(loop: asyncio.AbstractEventLoop) -> None:
    exchange = Exchange(loop).feed(CHUNKED)
    assert exchange.body() == b"hello world"
    for wire in FRAMED:
        reply = exchange.connection.start(b"next", Timeouts(), 5.0)
        assert reply.status == 0
        exchange.feed(wire)
        assert drain(reply) == b"hello world"
        assert "x-trailer" not in reply.headers
    assert exchange.wire.written == b"request" + b"next" * len(FRAMED)
    assert exchange.connection.reused
