"""A request goes up once that is answered; only a key that was refused is followed by another.

Method: a peer on loopback, which logs the keys that it was asked with. What a peer's health is, and what its adapters
hide, tests/upstreams/test_anthropic.py shows.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from faregate.upstreams.keys import Key
from faregate.upstreams.origin import request_head
from faregate.upstreams.peer import Auth, Peer
from faregate.upstreams.port import Answer
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import whole
from tests.upstreams.chat_peer import ChatPeer, Played, plain, refusal

GOOD = plain(b"{}")


@pytest_asyncio.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport()
    yield made
    await made.aclose()


async def post(peer: Peer) -> Answer:
    def head_of(key: Key) -> bytes:
        return request_head(peer.origin, f"{peer.prefix}/x", peer.key_headers(key))

    return await peer.post(head_of, b"{}", model="m", first_byte_s=10, on_wire=None)


def peer_of(server: ChatPeer, transport: Transport, *keys: str, auth: Auth = "bearer") -> Peer:
    return Peer(base_url=f"{server.base_url}/p", api_keys=keys, auth=auth, transport=transport)


def used(server: ChatPeer) -> list[str | None]:
    return [asked.headers.get("authorization") for asked in server.log]


async def test_keys_are_used_in_turn(transport: Transport) -> None:
    async with ChatPeer(GOOD) as server:
        peer = peer_of(server, transport, "a", "b")
        for _ in range(3):
            assert (await post(peer)).status == 200
        assert used(server) == ["Bearer a", "Bearer b", "Bearer a"]
        assert {asked.path for asked in server.log} == {"/p/x"}


async def test_a_refused_key_is_followed_by_the_next_and_rests(transport: Transport) -> None:
    async with ChatPeer(refusal(401, "revoked"), GOOD) as server:
        peer = peer_of(server, transport, "a", "b")
        assert (await post(peer)).status == 200
        assert (await post(peer)).status == 200
        assert used(server) == ["Bearer a", "Bearer b", "Bearer b"]


async def test_what_a_refused_key_was_told_is_not_waited_for(transport: Transport) -> None:
    async with ChatPeer(Played(body=b"{", status=403, stalls=True), GOOD) as server:
        assert (await post(peer_of(server, transport, "a", "b"))).status == 200
        await asyncio.wait_for(server.hung_up.wait(), 10)


async def test_when_every_key_is_refused_the_last_answer_is_the_answer(transport: Transport) -> None:
    async with ChatPeer(refusal(429, "slow"), Played(body=b"two", status=429)) as server:
        peer = peer_of(server, transport, "a", "b")
        answer = await post(peer)
        assert (answer.status, await whole(answer)) == (429, b"two")
        assert used(server) == ["Bearer a", "Bearer b"]


async def test_what_is_not_about_a_key_is_never_sent_a_second_time(transport: Transport) -> None:
    async with ChatPeer(refusal(500, "oops")) as server:
        assert (await post(peer_of(server, transport, "a", "b"))).status == 500
        assert len(server.log) == 1


async def test_without_a_key_none_is_sent_and_there_are_two_ways_to_send_one(transport: Transport) -> None:
    async with ChatPeer(GOOD) as server:
        await post(peer_of(server, transport))
        await post(peer_of(server, transport, "k", auth="x-api-key"))
        bare, named = (asked.headers for asked in server.log)
        assert "authorization" not in bare and "x-api-key" not in bare
        assert named["x-api-key"] == "k" and "authorization" not in named


def test_what_upstream_said_is_without_its_address_however_it_is_written(transport: Transport) -> None:
    for url, text in (
        ("https://llm.corp.example/v1", "no model at https://llm.corp.example/v1, llm.corp.example:443"),
        ("http://10.0.0.7:8000", "no model at http://10.0.0.7/v1, 10.0.0.7:8000"),
    ):
        peer = Peer(base_url=url, api_keys=["hunter2"], auth="bearer", transport=transport)
        told = peer.redact(text + " with hunter2")
        assert told.count("[redacted]") == 3 and not any(word in told for word in ("corp", "10.0", "hunter2"))
    short = Peer(base_url="http://model:8000", api_keys=[], auth="bearer", transport=transport)
    assert short.redact("no model at model:8000") == "no model at [redacted]"
