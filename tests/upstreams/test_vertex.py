"""A call to Vertex carries a token that google-auth fetched, the body that Vertex wants, and its answer is relayed.

Method: google-auth's real flow against a token endpoint on loopback, and a peer that answers none but its tokens.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from faregate.core.errors import GatewayError, InvalidRequest
from faregate.proxy import verdict
from faregate.upstreams.mimic import Mimic
from faregate.upstreams.port import CannotStart, Fault, FaultKind, Upstream
from faregate.upstreams.script import Play, failure, plain
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from faregate.upstreams.vertex import HEADS_MAX, Vertex
from tests.upstreams.asking import ask, whole
from tests.upstreams.vertex_peer import PROJECT, REGION, Peer, TokenEndpoint, key_file, trouble

MODEL = "claude-haiku-4-5@20251001"
ROOT = f"/v1/projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models"


class Pair:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = TokenEndpoint()
        self.token_server = ScriptedServer(self.tokens)
        self.server = ScriptedServer()
        self.transport = Transport()
        self.peer = Peer(self.tokens)

    def adapter(self, *plays: Play | None, **more: Any) -> Vertex:
        self.peer.plays = list(plays)
        self.server.play(self.peer)
        told = {
            "base_url": self.server.base_url,
            "project": PROJECT,
            "region": REGION,
            "models": {"claude-haiku-4-5": MODEL},
            "credentials_file": str(self.folder / "account.json"),
            **more,
        }
        return Vertex(name="google", transport=self.transport, **told)


@pytest_asyncio.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pair = Pair(tmp_path)
    await pair.server.start()
    await pair.token_server.start()
    key_file(tmp_path, f"{pair.token_server.base_url}/token")
    yield pair
    await pair.transport.aclose()
    await pair.server.stop()
    await pair.token_server.stop()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_carries_a_token_and_its_answer_is_relayed_to_the_byte(
    pair: Pair,
    stream: bool,  # noqa: FBT001
) -> None:
    adapter: Upstream = pair.adapter()
    await adapter.start()
    call = ask(stream=stream, beta="context-1m-2025-08-07", system="be brief")
    answer = await adapter.send(call)
    assert answer.status == 200
    seen = pair.server.log[0]
    assert seen.path == f"{ROOT}/claude-haiku-4-5@20251001:{'streamRawPredict' if stream else 'rawPredict'}"
    assert seen.headers["authorization"] == "Bearer ya29.token-1"
    assert seen.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert not {"anthropic-version", "x-api-key"} & seen.headers.keys()
    asked = {name: value for name, value in call.document.items() if name != "model"}
    assert seen.document == {**asked, "anthropic_version": "vertex-2023-10-16"}
    play = Mimic().answer("/v1/messages", msgspec.json.encode({**asked, "model": MODEL}), 0.0)
    assert await whole(answer) == b"".join(play.frames)


@pytest.mark.parametrize(("version", "told"), [("2023-06-01", "vertex-2023-10-16"), ("2026-10-21", "2026-10-21")])
async def test_the_version_is_the_callers_by_the_name_that_the_cloud_knows(pair: Pair, version: str, told: str) -> None:
    await whole(await pair.adapter().send(ask(version=version)))
    assert pair.server.log[0].document["anthropic_version"] == told


async def test_one_token_serves_all_calls_and_a_new_one_its_own(pair: Pair) -> None:
    adapter = pair.adapter()
    await asyncio.gather(*(adapter.send(ask()) for _ in range(20)))
    assert pair.tokens.given == ["ya29.token-1"]
    pair.tokens.lasts_s = 30
    again = pair.adapter()
    for number in (2, 3):
        await whole(await again.send(ask()))
        assert pair.server.log[-1].headers["authorization"] == f"Bearer ya29.token-{number}"


async def test_a_project_or_model_is_one_segment_of_the_path(pair: Pair) -> None:
    pair.peer.plays = []
    adapter = pair.adapter(models={"claude-haiku-4-5": "../x?y:z"}, project="example.com:gate")
    pair.server.play([plain({})])
    await adapter.send(ask())
    assert pair.server.log[0].path == (
        f"/v1/projects/example.com:gate/locations/{REGION}/publishers/anthropic/models/..%2Fx%3Fy%3Az:rawPredict"
    )


async def test_a_callers_beta_that_could_add_a_header_is_refused_and_those_withheld_are_not_named(pair: Pair) -> None:
    adapter = pair.adapter(betas_withheld=("oauth-2025-04-20",))
    with pytest.raises(InvalidRequest, match=r"^anthropic-beta: "):
        await adapter.send(ask(beta="a\r\nx-evil: 1"))
    assert not pair.server.log
    for beta, named in (("oauth-2025-04-20, x", "x"), ("oauth-2025-04-20", None)):
        await whole(await adapter.send(ask(beta=beta)))
        assert pair.server.log[-1].headers.get("anthropic-beta") == named


async def test_the_heads_that_are_kept_are_bounded_whatever_callers_send(pair: Pair) -> None:
    adapter = pair.adapter()
    for number in range(HEADS_MAX + 5):
        await whole(await adapter.send(ask(beta=f"beta-{number}")))
    await whole(await adapter.send(ask(beta="x" * 9000)))
    assert len(adapter._heads) <= HEADS_MAX and not any("xxx" in str(key) for key in adapter._heads)


@pytest.mark.parametrize(
    ("play", "status", "again", "message"),
    [
        (trouble(429, "RESOURCE_EXHAUSTED", "Quota exceeded"), 429, True, "The upstream is overloaded."),
        (trouble(429, "RESOURCE_EXHAUSTED", "Quota exceeded", listed=True), 429, True, "The upstream is overloaded."),
        (trouble(503, "UNAVAILABLE", "later"), 503, True, "The upstream failed."),
        (trouble(403, "PERMISSION_DENIED", "aiplatform.endpoints.predict denied"), 403, False, "gateway's access"),
        (trouble(400, "FAILED_PRECONDITION", "Project `1` is not allowed to use Publisher Model `projects/1/x`"),
         403, False, "gateway's access"),
        (trouble(404, "NOT_FOUND", "Publisher Model `projects/fare-project/locations/x` was not found.", listed=True),
         404, False, r"^Publisher Model `\[redacted\]/locations/x` was not found.$"),
        (failure(400, "invalid_request_error", "messages: too odd"), 400, False, "^messages: too odd$"),
        (failure(413, "invalid_request_error", "Prompt is too long"), 400, False, "^prompt is too long$"),
        (failure(529, "overloaded_error", "Overloaded"), 529, True, "The upstream is overloaded."),
        (Play(status=502, frames=(b"<html>",)), 502, True, "The upstream failed."),
    ],
)  # fmt: skip
async def test_a_refusal_means_what_it_would_have_meant_at_anthropics(
    pair: Pair,
    play: Play,
    status: int,
    again: bool,  # noqa: FBT001
    message: str,
) -> None:
    adapter = pair.adapter(play)
    failed = await verdict.of_answer(await adapter.send(ask(stream=True)), adapter.redact, now_ms=0)
    assert (failed.status, failed.again) == (status, again)
    with pytest.raises(GatewayError, match=message):
        raise failed.error


async def test_the_wait_that_google_asks_for_is_heeded(pair: Pair) -> None:
    adapter = pair.adapter(trouble(429, "RESOURCE_EXHAUSTED", "slow", headers=(("retry-after", "7"),)))
    failed = await verdict.of_answer(await adapter.send(ask()), adapter.redact, now_ms=0)
    assert failed.asked_ms == 7000


async def test_a_token_that_cannot_be_had_is_a_call_that_was_not_sent(pair: Pair) -> None:
    adapter = pair.adapter()
    pair.tokens.plays = [plain({"error": "invalid_grant"}, status=400)] * 2
    await adapter.start()
    assert not adapter.healthy()
    with pytest.raises(Fault, match="google: no credentials") as caught:
        await adapter.send(ask())
    assert caught.value.kind is FaultKind.CONNECT and not pair.server.log
    assert (await adapter.send(ask())).status == 200
    assert adapter.healthy()


async def test_without_any_credentials_it_does_not_start(pair: Pair) -> None:
    (pair.folder / "account.json").write_text("{}")
    with pytest.raises(CannotStart, match="no Google credentials"):
        await pair.adapter().start()


async def test_the_token_and_the_project_are_in_nothing_that_is_read(pair: Pair) -> None:
    adapter = pair.adapter()
    await adapter.start()
    text = adapter.redact(f"{adapter!r}: ya29.token-1 may not use {PROJECT}, nor projects/12345678")
    assert not any(secret in text for secret in ("ya29", PROJECT, "12345678", "127.0.0.1"))


async def test_it_counts_by_the_model_that_counts(pair: Pair) -> None:
    adapter = pair.adapter()
    call = ask(system="be brief", temperature=0.5, stop_sequences=["x"])
    assert await adapter.count_tokens(call) == 34
    seen = pair.server.log[0]
    assert seen.path == f"{ROOT}/count-tokens:rawPredict"
    assert seen.document == {
        "anthropic_version": "vertex-2023-10-16",
        "model": MODEL,
        "messages": call.document["messages"],
        "system": "be brief",
    }


async def test_a_count_that_is_refused_or_none_is_said(pair: Pair) -> None:
    adapter = pair.adapter(
        trouble(404, "NOT_FOUND", "no"),
        failure(400, "invalid_request_error", "messages: too odd"),
        trouble(403, "PERMISSION_DENIED", "no"),
        plain({"input_tokens": -1}),
    )
    assert await adapter.count_tokens(ask()) is None
    with pytest.raises(InvalidRequest, match=r"^messages: too odd$"):
        await adapter.count_tokens(ask())
    for _ in range(2):
        with pytest.raises(Fault):
            await adapter.count_tokens(ask())
