"""A call through either cloud is a call like any other: answered, retried, billed by what was used, or not at all.

Method: a whole gateway before a Bedrock that verifies signatures, or a Vertex that verifies Google's tokens, driven by
the official SDK; the receipts are compared with what the peer's model reported.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import anthropic
import httpx2
import msgspec
import pytest
from anthropic.types import MessageParam, TextBlock

from faregate.core.money import NANOS_PER_CREDIT, show_credits
from faregate.upstreams.port import CannotStart
from faregate.upstreams.script import Play, events, failure, frames_of
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.wire import sse
from faregate.wire.usage import Usage
from tests.contract.riders import NO_RETRY, message
from tests.gateway import MODEL, Gate, ask, running
from tests.upstreams import bedrock_peer, vertex_peer
from tests.upstreams.asking import until

Kind = Literal["bedrock", "vertex"]
Peer = bedrock_peer.Peer | vertex_peer.Peer
KINDS: list[Kind] = ["bedrock", "vertex"]
OPENING = 1_000_000 * NANOS_PER_CREDIT
HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]
LONG = "Rules of the house, and there are many of them. " * 120
THEIR_NAME = {"bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0", "vertex": "claude-haiku-4-5@20251001"}
THROTTLED = {
    "bedrock": bedrock_peer.trouble(429, "ThrottlingException", "Too many tokens, please wait before trying again."),
    "vertex": vertex_peer.trouble(429, "RESOURCE_EXHAUSTED", "Quota exceeded", listed=True),
}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bedrock_peer.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bedrock_peer.SECRET)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextlib.asynccontextmanager
async def clouded(folder: Path, kind: Kind, more: str = "") -> AsyncIterator[tuple[Gate, Peer]]:
    """A gateway whose model is served by a cloud, and the cloud's peer."""
    tokens = vertex_peer.TokenEndpoint()
    peer: Peer = bedrock_peer.Peer(split=50) if kind == "bedrock" else vertex_peer.Peer(tokens)
    server, endpoint = ScriptedServer(peer), ScriptedServer(tokens)
    await server.start()
    await endpoint.start()
    own = f'region = "{bedrock_peer.REGION}"\n'
    if kind == "vertex":
        vertex_peer.key_file(folder, f"{endpoint.base_url}/token")
        own = f'region = "{vertex_peer.REGION}"\nproject = "{vertex_peer.PROJECT}"\ncredentials_file = "account.json"\n'
    toml = (
        f'[[upstreams]]\nname = "cloud"\nkind = "{kind}"\nbase_url = "{server.base_url}"\n{own}'
        f'models = {{ "{MODEL}" = "{THEIR_NAME[kind]}" }}\n[[routes]]\nmodel = "{MODEL}"\nupstreams = ["cloud"]\n'
    )
    try:
        async with running(folder, toml=toml + more) as gate:
            yield gate, peer
    finally:
        await server.stop()
        await endpoint.stop()


def reported(play: Play) -> Usage:
    """What the model behind the peer says it used."""
    if play.content_type == "application/json":
        usage = msgspec.json.decode(play.frames[0])["usage"]
    else:
        told = [msgspec.json.decode(frame.data) for part in play.frames for frame in sse.frames(part)]
        start, delta = told[0]["message"]["usage"], told[-2]["usage"]
        usage = {**start, **delta}
    split = usage.get("cache_creation") or {}
    return Usage(
        input=usage["input_tokens"],
        output=usage["output_tokens"],
        cache_read=usage.get("cache_read_input_tokens", 0),
        cache_write_5m=split.get("ephemeral_5m_input_tokens", 0),
        cache_write_1h=split.get("ephemeral_1h_input_tokens", 0),
    )


@contextlib.asynccontextmanager
async def sdk(gate: Gate, key: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = httpx2.AsyncClient(trust_env=False)
    async with anthropic.AsyncAnthropic(api_key=key, base_url=gate.base_url, http_client=http, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
async def test_the_sdk_rides_through_and_each_receipt_is_what_the_cloud_reported(tmp_path: Path, kind: Kind) -> None:
    cached: Any = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    async with clouded(tmp_path, kind) as (gate, peer):
        key = await gate.key()
        ids = []
        async with sdk(gate, key) as client:
            for system in ("be brief", cached, cached):
                plain = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, system=system)
                assert plain.model == MODEL and isinstance(plain.content[0], TextBlock)
                async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO, system=system) as stream:
                    text = "".join([piece async for piece in stream.text_stream])
                    final = await stream.get_final_message()
                assert text == plain.content[0].text and final.stop_reason == plain.stop_reason
                ids += [plain.id, final.id]
            counted = await client.messages.count_tokens(model=MODEL, messages=HELLO)

        assert counted.input_tokens == {"bedrock": 21, "vertex": 34}[kind]
        assert len(ids) == len(peer.answers) == 6
        for message_id, answer in zip(ids, peer.answers, strict=True):
            receipt = await gate.receipt(key, message_id)
            assert receipt["charged"] == show_credits(gate.price().cost(reported(answer)))
            assert receipt["attempts"] == 1
        assert any(reported(answer).cache_read for answer in peer.answers)
        assert set(peer.models) <= {THEIR_NAME[kind], THEIR_NAME[kind].removeprefix("us.")}
        assert (await gate.books())[1] == 0 and not gate.upstream.log


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_throttled_call_is_tried_again_and_billed_once(
    tmp_path: Path,
    kind: Kind,
    is_stream: bool,  # noqa: FBT001
) -> None:
    async with clouded(tmp_path, kind) as (gate, peer):
        key = await gate.key()
        peer.plays = [THROTTLED[kind], None]
        answer = await (gate.stream(key) if is_stream else gate.message(key))
        assert answer.status_code == 200
        (receipt,) = await gate.receipts(key)
        assert receipt["charged"] == show_credits(gate.price().cost(reported(peer.answers[0])))
        assert receipt["attempts"] == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cloud_that_goes_on_throttling_is_overload_and_free(tmp_path: Path, kind: Kind) -> None:
    async with clouded(tmp_path, kind, NO_RETRY) as (gate, peer):
        key = await gate.key()
        peer.plays = [THROTTLED[kind]]
        answer = await gate.message(key)
        assert (answer.status_code, answer.json()["error"]["message"]) == (529, "The upstream is overloaded.")
        assert await gate.books() == (OPENING, 0)


FRAMES = [parsed.data for part in frames_of(message(input_tokens=5, output_tokens=50)) for parsed in sse.frames(part)]


def broken_streams() -> Iterator[tuple[str, Play]]:
    good = [bedrock_peer.chunk(event) for event in FRAMES]
    for name, at in (("first", 0), ("middle", 5), ("last", len(good) - 1)):
        wrong = good[at][:-1] + bytes([good[at][-1] ^ 1])
        frames = (*good[:at], wrong, *good[at + 1 :])
        yield f"checksum of the {name}", Play(frames=frames, content_type=bedrock_peer.STREAM, framing="chunked")
    yield (
        "exception",
        bedrock_peer.event_stream(FRAMES[:5], then=bedrock_peer.exception("internalServerException", "x")),
    )
    yield "end within a frame", bedrock_peer.event_stream(FRAMES[:5], then=good[5][:-9])
    yield "end without message_stop", bedrock_peer.event_stream(FRAMES[:-1])


@pytest.mark.parametrize(("name", "play"), list(broken_streams()), ids=lambda value: str(value)[:30])
async def test_an_event_stream_that_breaks_anywhere_is_never_billed(tmp_path: Path, name: str, play: Play) -> None:
    async with clouded(tmp_path, "bedrock", NO_RETRY) as (gate, peer):
        key = await gate.key()
        peer.plays = [play]
        answer = await gate.stream(key)
        if answer.status_code == 200:
            assert answer.kinds[-1] == "error" and "message_stop" not in answer.kinds
        else:
            assert answer.status_code == 502, name  # It broke before its first event was relayed.
        (receipt,) = await gate.settled(key)
        assert (receipt["state"], receipt["outcome"], receipt["charged"]) == ("released", "upstream_error", "0")
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_caller_who_hangs_up_stops_the_cloud_and_pays_for_what_passed(tmp_path: Path, kind: Kind) -> None:
    slow = frames_of(message("word " * 400, input_tokens=5, output_tokens=400), 400)
    told = [parsed.data for part in slow for parsed in sse.frames(part)]
    play = bedrock_peer.event_stream(told, gap_ms=20) if kind == "bedrock" else events(slow, gap_ms=20)
    async with clouded(tmp_path, kind) as (gate, peer):
        key = await gate.key()
        peer.plays = [play]
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        async with gate.client.stream("POST", "/v1/messages", json=ask(stream=True), headers=headers) as answer:
            async for line in answer.aiter_lines():
                if "content_block_delta" in line:
                    break
        await until(lambda: peer.seen[-1].hung_up)
        assert peer.seen[-1].frames_written < len(slow)
        (receipt,) = await gate.settled(key)
        assert receipt["state"] == "settled" and receipt["outcome"] != "upstream_error"
        assert (await gate.books())[1] == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_caller_reads_of_a_refusal_names_neither_cloud_nor_account(tmp_path: Path, kind: Kind) -> None:
    plays: dict[Kind, Play] = {
        "bedrock": bedrock_peer.trouble(
            400, "ValidationException", "messages.0: too odd for arn:aws:bedrock:us-east-1:123456789012:x/y"
        ),
        "vertex": failure(400, "invalid_request_error", "messages.0: too odd for projects/fare-project"),
    }
    async with clouded(tmp_path, kind) as (gate, peer):
        peer.plays = [plays[kind]]
        answer = await gate.message(await gate.key(), ask())
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "messages.0: too odd for [redacted]"


async def test_a_gateway_without_credentials_for_its_cloud_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(CannotStart, match="there are no AWS credentials"):
        async with clouded(tmp_path, "bedrock"):
            raise AssertionError("it does not get so far")
