"""An upstream that speaks Chat Completions is one like any other: its answers and its errors are Anthropic's.

Method: a peer on loopback, over the real transport. The model's server itself is asked in test_openai_for_real.py.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from faregate.core.errors import Unsupported
from faregate.upstreams import openai
from faregate.upstreams.openai import OFFICIAL, REST_BYTES_MAX, OpenAI, api_prefix
from faregate.upstreams.port import Answer, Fault, FaultKind, Upstream
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import ask, whole
from tests.upstreams.chat_peer import ChatPeer, Played, delta, plain, refusal, stream, usage
from tests.upstreams.chat_peer import whole as message
from tests.upstreams.chat_rules import gathered

HELLO = stream(delta(content="The gate opens."), delta(finish="stop"), told=usage(40, 7, cached=30))


@asynccontextmanager
async def playing(*plays: Played, path: str = "", **more: Any) -> AsyncIterator[tuple[OpenAI, ChatPeer]]:
    transport = Transport()
    async with ChatPeer(*plays) as peer:
        told = {"api_keys": ["sk-hunter2"], **more}
        yield OpenAI(name="up", base_url=peer.base_url + path, transport=transport, **told), peer
        await transport.aclose()


async def envelope(answer: Answer) -> tuple[int, str, str]:
    error = msgspec.json.decode(await whole(answer))["error"]
    return answer.status, error["type"], error["message"]


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
async def test_a_stream_is_anthropics_however_it_is_cut(piece: int) -> None:
    async with playing(Played(body=HELLO, piece=piece)) as (adapter, peer):
        upstream: Upstream = adapter
        answer = await upstream.send(ask(stream=True))
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
        told = gathered(await whole(answer))
        assert told["content"] == [{"type": "text", "text": "The gate opens."}]
        assert (told["usage"]["input_tokens"], told["usage"]["cache_read_input_tokens"]) == (10, 30)
        assert peer.log[0].body["stream_options"] == {"include_usage": True}


async def test_a_plain_answer_is_a_message() -> None:
    async with playing(plain(message(content="Yes.", told=usage()))) as (adapter, peer):
        answer = await adapter.send(ask())
        told = msgspec.json.decode(await whole(answer))
        assert answer.headers["content-type"] == "application/json"
        assert (told["type"], told["role"], told["model"]) == ("message", "assistant", "claude-haiku-4-5")
        assert told["content"] == [{"type": "text", "text": "Yes."}] and told["id"].startswith("msg_")
        assert "stream" not in peer.log[0].body


async def test_the_peer_is_asked_by_its_own_name_of_the_model_with_our_key_and_nothing_of_the_callers() -> None:
    async with playing(Played(body=HELLO), models={"claude-haiku-4-5": "Qwen/Qwen3"}) as (adapter, peer):
        await whole(await adapter.send(ask(stream=True, beta="x-2025")))
        assert (peer.log[0].path, peer.log[0].body["model"]) == ("/v1/chat/completions", "Qwen/Qwen3")
        assert set(peer.log[0].headers) == {
            "host", "accept-encoding", "authorization", "content-type", "accept", "user-agent", "content-length"
        }  # fmt: skip
        assert peer.log[0].headers["authorization"] == "Bearer sk-hunter2"


@pytest.mark.parametrize(
    ("path", "asked"),
    [("", "/v1/chat/completions"), ("/", "/v1/chat/completions"), ("/v1/", "/v1/chat/completions"),
     ("/v1beta/openai", "/v1beta/openai/chat/completions")],
)  # fmt: skip
async def test_a_path_of_its_own_stands_instead_of_v1(path: str, asked: str) -> None:
    async with playing(Played(body=HELLO), path=path) as (adapter, peer):
        await whole(await adapter.send(ask(stream=True)))
        assert peer.log[0].path == asked
    assert api_prefix("") == "/v1"


async def test_our_estimate_stands_in_message_start_until_the_truth_comes() -> None:
    async with playing(Played(body=HELLO)) as (adapter, _):
        answer = await adapter.send(msgspec.structs.replace(ask(stream=True), input_guess=33))
        first = msgspec.json.decode((await whole(answer)).split(b"\n")[1].removeprefix(b"data: "))
        assert first["message"]["usage"]["input_tokens"] == 33


async def test_a_connection_is_used_again_after_a_stream() -> None:
    async with playing(Played(body=HELLO, piece=11)) as (adapter, peer):
        for _ in range(3):
            await whole(await adapter.send(ask(stream=True)))
        assert peer.connections == 1


async def test_a_connection_is_used_again_though_its_end_comes_late() -> None:
    held = asyncio.Event()
    async with playing(Played(body=HELLO, held=held)) as (adapter, peer):
        answer = await adapter.send(ask(stream=True))
        told = b""
        while b"message_stop" not in told:
            told += await answer.read()
        held.set()
        assert await answer.read() == b""
        await whole(await adapter.send(ask(stream=True)))
        assert peer.connections == 1


async def test_an_answer_that_is_left_gives_its_connection_back_only_when_it_was_read_to_its_end() -> None:
    held = asyncio.Event()
    async with playing(Played(body=HELLO, held=held), Played(body=HELLO[:300], stalls=True)) as (adapter, peer):
        answer = await adapter.send(ask(stream=True))
        told = b""
        while b"message_stop" not in told:
            told += await answer.read()
        answer.leave()
        held.set()
        assert await answer.read() == b""
        second = await adapter.send(ask(stream=True))
        assert await second.read()
        second.leave()
        await asyncio.wait_for(peer.hung_up.wait(), 10)
        assert peer.connections == 1


async def test_more_than_an_answer_can_be_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "PLAIN_BYTES_MAX", 99)
    too_long = plain(b" " * (openai.ERROR_BYTES_MAX + 1) + b'{"error": "x"}', 400)
    async with playing(too_long, plain(message(content="Yes."))) as (adapter, peer):
        assert await envelope(await adapter.send(ask())) == (400, "invalid_request_error", "")
        with pytest.raises(Fault, match="more than 99 bytes"):
            await adapter.send(ask())
        assert len(peer.log) == 2


async def test_a_peer_that_goes_on_behind_its_end_is_hung_up_on() -> None:
    chatty = Played(body=HELLO + b": more\n" * REST_BYTES_MAX, piece=1 << 14)
    async with playing(chatty) as (adapter, peer):
        for _ in range(2):
            gathered(await whole(await adapter.send(ask(stream=True))))
        assert peer.connections == 2


async def test_a_caller_who_leaves_closes_the_peers_connection() -> None:
    async with playing(Played(body=HELLO[:300], stalls=True)) as (adapter, peer):
        answer = await adapter.send(ask(stream=True))
        assert await answer.read()
        answer.cancel()
        await asyncio.wait_for(peer.hung_up.wait(), 10)
        with pytest.raises(Fault) as caught:
            await whole(answer)
        assert caught.value.kind is FaultKind.CANCELLED


async def test_a_caller_who_leaves_before_a_plain_answer_came_closes_it_too() -> None:
    async with playing(Played(body=b"{", content_type="application/json", stalls=True)) as (adapter, peer):
        asking = asyncio.create_task(adapter.send(ask()))
        while not peer.log:  # noqa: ASYNC110 - it happens on a socket
            await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.wait_for(peer.hung_up.wait(), 10)


@pytest.mark.parametrize("breaks", [True, False])
async def test_a_stream_that_breaks_off_is_a_fault(breaks: bool) -> None:  # noqa: FBT001
    async with playing(Played(body=HELLO[:400], breaks=breaks)) as (adapter, _):
        with pytest.raises(Fault) as caught:
            await whole(await adapter.send(ask(stream=True)))
        assert caught.value.kind is FaultKind.RESET


async def test_refusals_come_in_anthropics_envelope_with_their_wait() -> None:
    slow = refusal(429, "Rate limit reached")
    slow.headers = {"retry-after": "7", "x-request-id": "theirs"}
    async with playing(slow, refusal(404, "no such model", flat=True), refusal(400, "no", code=None)) as (adapter, _):
        answer = await adapter.send(ask(stream=True))
        assert answer.headers == {"content-type": "application/json", "retry-after": "7"}
        assert await envelope(answer) == (429, "rate_limit_error", "Rate limit reached")
        assert await envelope(await adapter.send(ask())) == (404, "not_found_error", "no such model")
        assert await envelope(await adapter.send(ask())) == (400, "invalid_request_error", "no")


async def test_an_error_under_200_is_an_error() -> None:
    error = plain(b'{"error": {"message": "overloaded", "code": 529}}')
    async with playing(error) as (adapter, _):
        for stream_ in (True, False):
            assert await envelope(await adapter.send(ask(stream=stream_))) == (529, "overloaded_error", "overloaded")


async def test_who_asked_for_a_stream_is_not_given_a_plain_answer() -> None:
    async with playing(plain(message(content="Yes."))) as (adapter, _):
        with pytest.raises(Fault, match="answered without a stream"):
            await adapter.send(ask(stream=True))


async def test_what_cannot_be_translated_is_refused_and_nothing_is_sent() -> None:
    async with playing(Played(body=HELLO)) as (adapter, peer):
        with pytest.raises(Unsupported, match=r"^mcp_servers: "):
            await adapter.send(ask(mcp_servers=[{"type": "url"}]))
        assert not peer.log


async def test_it_has_no_count_of_its_own_and_hides_its_key_and_address() -> None:
    async with playing(Played(body=HELLO)) as (adapter, peer):
        assert await adapter.count_tokens(ask()) is None
        host = peer.base_url.removeprefix("http://")
        assert adapter.redact(f"sk-hunter2 at {host}") == "[redacted] at [redacted]"
        assert "hunter2" not in repr(adapter)
        assert adapter.healthy() and not adapter.embedded


async def test_thinking_is_shown_to_who_asked_for_it() -> None:
    body = stream(delta(reasoning="Hm."), delta(content="Yes."), delta(finish="stop"), told=usage())
    shown = {"type": "enabled", "budget_tokens": 1024}
    async with playing(Played(body=body)) as (adapter, _):
        for thinking, kinds in (
            ({"thinking": shown}, ["thinking", "text"]),
            ({"thinking": {**shown, "display": "omitted"}}, ["text"]),
            ({"thinking": {"type": "disabled"}}, ["text"]),
            ({}, ["text"]),
        ):
            told = gathered(await whole(await adapter.send(ask(stream=True, **thinking))))
            assert [block["type"] for block in told["content"]] == kinds


@pytest.mark.parametrize(
    ("host", "official"),
    [("api.openai.com", True), ("eu.api.openai.com", True), ("mine.openai.azure.com", True), ("openai.com.evil", False),
     ("127.0.0.1", False), ("xapi.openai.com", False)],
)  # fmt: skip
def test_openais_own_hosts_are_known(host: str, official: bool) -> None:  # noqa: FBT001
    assert (OFFICIAL.fullmatch(host) is not None) is official
