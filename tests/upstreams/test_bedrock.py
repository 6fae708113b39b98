"""A call to Bedrock is signed, carries what Bedrock wants and no more, and what comes back is Anthropic's.

Method: a peer on loopback that checks every signature by its own recomputation and answers in frames of its own.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from faregate.core.errors import GatewayError, InvalidRequest
from faregate.proxy import verdict
from faregate.upstreams.bedrock import Bedrock
from faregate.upstreams.mimic import Mimic
from faregate.upstreams.port import CannotStart, Fault, FaultKind, Upstream
from faregate.upstreams.script import End, Play, plain
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import ask, whole
from tests.upstreams.bedrock_peer import ACCESS, REGION, SECRET, Peer, event_stream, exception, trouble

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
MODELS = {"claude-haiku-4-5": MODEL}
ARN = "arn:aws:bedrock:eu-north-1:123456789012:application-inference-profile/abc"


class Pair:
    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.transport = Transport()
        self.peer = Peer()

    def adapter(self, *plays: Play | None, **more: Any) -> Bedrock:
        self.peer.plays = list(plays)
        self.server.play(self.peer)
        told = {"base_url": self.server.base_url, "region": REGION, "models": MODELS, **more}
        return Bedrock(name="aws", transport=self.transport, **told)


@pytest_asyncio.fixture
async def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Pair]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    pair = Pair()
    await pair.server.start()
    yield pair
    await pair.transport.aclose()
    await pair.server.stop()


async def test_a_plain_call_is_signed_and_its_answer_is_relayed_to_the_byte(pair: Pair) -> None:
    adapter: Upstream = pair.adapter()
    await adapter.start()
    call = ask(system="be brief", beta="context-1m-2025-08-07, interleaved-thinking-2025-05-14")
    answer = await adapter.send(call)
    assert answer.status == 200 and pair.peer.refused == []
    seen = pair.server.log[0]
    assert seen.path == "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke"
    assert seen.document == {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"],
        "max_tokens": 100,
        "messages": call.document["messages"],
        "system": "be brief",
    }
    assert not {"anthropic-version", "anthropic-beta", "x-api-key"} & seen.headers.keys()
    asked = {name: seen.document[name] for name in seen.document if not name.startswith("anthropic_")}
    body = msgspec.json.encode({**asked, "model": MODEL, "stream": False})
    assert await whole(answer) == Mimic().answer("/v1/messages", body, 0.0).frames[0]
    assert adapter.healthy()


@pytest.mark.parametrize("split", [0, 1, 7, 100, 100_000])
async def test_a_stream_is_anthropics_to_the_byte_however_it_is_cut(pair: Pair, split: int) -> None:
    pair.peer = Peer(split=split)
    adapter = pair.adapter()
    answer = await adapter.send(ask(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = pair.server.log[0]
    assert seen.path.endswith("/invoke-with-response-stream") and pair.peer.refused == []
    asked = {name: seen.document[name] for name in seen.document if not name.startswith("anthropic_")}
    body = msgspec.json.encode({**asked, "model": MODEL, "stream": True})
    assert await whole(answer) == b"".join(Mimic().answer("/v1/messages", body, 0.0).frames)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (None, "/model/claude-haiku-4-5/invoke"),
        (ARN, "/model/arn%3Aaws%3Abedrock%3Aeu-north-1%3A123456789012%3Aapplication-inference-profile%2Fabc/invoke"),
        ("../../x?y#z", "/model/..%2F..%2Fx%3Fy%23z/invoke"),
    ],
)
async def test_a_models_name_is_one_segment_of_the_path(pair: Pair, model: str | None, path: str) -> None:
    adapter = pair.adapter(models={"claude-haiku-4-5": model} if model else {})
    assert (await adapter.send(ask())).status == 200
    assert pair.server.log[0].path == path and pair.peer.refused == []


async def test_temporary_keys_and_a_prefix_and_a_heavy_body_are_signed_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "FwoGZXIvYXdzEJr")
    pair.peer = Peer(token="FwoGZXIvYXdzEJr")
    adapter = pair.adapter(base_url=pair.server.base_url + "/vpce/")
    assert (await adapter.send(ask(system="x" * 2_000_000))).status == 200
    assert pair.peer.refused == []


async def test_a_peer_with_other_keys_refuses_and_that_is_our_trouble(pair: Pair) -> None:
    pair.peer = Peer(secret="another")
    adapter = pair.adapter()
    failed = await verdict.of_answer(await adapter.send(ask()), adapter.redact, now_ms=0)
    assert (failed.status, failed.again) == (403, False) and "signature" not in failed.error.message


async def test_an_api_key_goes_as_it_is_and_needs_no_other_credentials(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    pair.peer = Peer(api_key="bedrock-api-key-hunter2")
    adapter = pair.adapter(api_key="bedrock-api-key-hunter2")
    await adapter.start()
    assert adapter.healthy()
    assert (await adapter.send(ask())).status == 200
    assert "x-amz-date" not in pair.server.log[0].headers
    assert "hunter2" not in repr(adapter) + adapter.redact("with hunter2 bedrock-api-key-hunter2").removeprefix(
        "with hunter2"
    )
    with pytest.raises(ValueError) as refusal:
        pair.adapter(api_key="hunter2\r\nx: y")
    assert "hunter2" not in str(refusal.value)


async def test_without_any_credentials_it_does_not_start(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    adapter = pair.adapter()
    with pytest.raises(CannotStart, match="no AWS credentials"):
        await adapter.start()
    assert not adapter.healthy()
    with pytest.raises(Fault) as caught:
        await adapter.send(ask(on=1))
    assert caught.value.kind is FaultKind.CONNECT and not pair.server.log


@pytest.mark.parametrize(("version", "told"), [("2023-06-01", "bedrock-2023-05-31"), ("2026-10-21", "2026-10-21")])
async def test_the_version_is_the_callers_by_the_name_that_the_cloud_knows(pair: Pair, version: str, told: str) -> None:
    await whole(await pair.adapter().send(ask(version=version)))
    assert pair.server.log[0].document["anthropic_version"] == told


async def test_betas_that_are_withheld_are_not_named(pair: Pair) -> None:
    adapter = pair.adapter(betas_withheld=("oauth-2025-04-20",))
    for beta, named in (("oauth-2025-04-20,x", ["x"]), ("oauth-2025-04-20", None), (None, None)):
        await whole(await adapter.send(ask(beta=beta)))
        assert pair.server.log[-1].document.get("anthropic_beta") == named


@pytest.mark.parametrize(
    ("play", "status", "again", "message"),
    [
        (trouble(429, "ThrottlingException", "Too many tokens"), 429, True, "The upstream is overloaded."),
        (trouble(400, "ServiceQuotaExceededException", "quota"), 429, True, "The upstream is overloaded."),
        (trouble(429, "ModelNotReadyException", "soon"), 503, True, "The upstream failed."),
        (trouble(408, "ModelTimeoutException", "late"), 504, True, "The upstream did not answer in time."),
        (trouble(424, "ModelErrorException", "oh"), 500, True, "The upstream failed."),
        (trouble(503, "ServiceUnavailableException", "no"), 503, True, "The upstream failed."),
        (trouble(403, "AccessDeniedException", f"{ARN} may not"), 403, False, "refused this gateway's access"),
        (trouble(400, "ValidationException", "The model returned the following errors: messages.0: too odd"),
         400, False, "^messages.0: too odd$"),
        (trouble(400, "ValidationException", "Input is too long for requested model."),
         400, False, "^prompt is too long: Input is too long for requested model.$"),
        (trouble(400, "ValidationException", f"Invocation of model ID {ARN} with on-demand throughput isn’t supported"),
         404, False, r"^Invocation of model ID \[redacted\] with on-demand"),
        (trouble(404, "ResourceNotFoundException", "Model use case details have not been submitted for this account."),
         403, False, "refused this gateway's access"),
        (trouble(400, "ValidationException", "Operation not allowed"), 403, False, "refused this gateway's access"),
        (trouble(404, "ResourceNotFoundException", "no such model"), 404, False, "no such model"),
        (plain({"__type": "com.amazon.coral.service#UnrecognizedClientException", "Message": "x"}, status=400),
         403, False, "refused this gateway's access"),
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
    for stream in (False, True):
        adapter = pair.adapter(play)
        failed = await verdict.of_answer(await adapter.send(ask(stream=stream)), adapter.redact, now_ms=0)
        assert (failed.status, failed.again) == (status, again)
        with pytest.raises(GatewayError, match=message):
            raise failed.error


async def test_an_exception_in_the_stream_is_its_error_event(pair: Pair) -> None:
    adapter = pair.adapter(event_stream([b'{"type":"ping"}'], then=exception("throttlingException", "slow")))
    body = await whole(await adapter.send(ask(stream=True)))
    assert body.endswith(
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"slow"}}\n\n'
    )


@pytest.mark.parametrize(
    ("ending", "kind"), [(End.CUT, FaultKind.RESET), (End.RESET, FaultKind.RESET), (End.GARBAGE, FaultKind.PROTOCOL)]
)
async def test_a_stream_that_breaks_is_a_fault(pair: Pair, ending: End, kind: FaultKind) -> None:
    adapter = pair.adapter(event_stream([b'{"type":"ping"}'] * 3, ending=ending, ending_after=2))
    answer = await adapter.send(ask(stream=True))
    with pytest.raises(Fault) as caught:
        await whole(answer)
    assert caught.value.kind is kind


async def test_a_long_error_is_not_read_and_its_connection_is_closed(pair: Pair) -> None:
    adapter = pair.adapter(Play(status=500, frames=(b"x" * 300_000,)))
    with pytest.raises(Fault, match="more than"):
        await adapter.send(ask())


# count_tokens


@pytest.mark.parametrize("model", [MODEL, "global.anthropic.claude-x", "anthropic.claude-x"])
async def test_it_counts_by_the_models_own_id(pair: Pair, model: str) -> None:
    adapter = pair.adapter(models={"claude-haiku-4-5": model})
    call = ask()
    plain_count = {name: call.document[name] for name in ("model", "messages")}
    assert await adapter.count_tokens(msgspec.structs.replace(call, document=plain_count)) == 21
    assert pair.peer.bodies[-1]["max_tokens"] == 1, "Bedrock counts only what could be sent"
    assert pair.peer.refused == [] and pair.peer.models == [model.split(".", model.count(".") - 1)[-1]]


@pytest.mark.parametrize(
    "play",
    [
        trouble(400, "ValidationException", "The provided model doesn't support counting tokens."),
        trouble(400, "ValidationException", "The provided model identifier is invalid."),
        trouble(404, "ResourceNotFoundException", "no"),
    ],
)
async def test_a_model_that_is_not_counted_has_no_count(pair: Pair, play: Play) -> None:
    assert await pair.adapter(play).count_tokens(ask()) is None


async def test_a_count_that_is_refused_or_none_is_said(pair: Pair) -> None:
    adapter = pair.adapter(
        trouble(400, "ValidationException", "Input is too long for requested model."),
        trouble(403, "AccessDeniedException", "no"),
        plain({"inputTokens": -1}),
    )
    with pytest.raises(InvalidRequest) as refused:
        await adapter.count_tokens(ask())
    assert refused.value.code == "context_length_exceeded"
    for _ in range(2):
        with pytest.raises(Fault):
            await adapter.count_tokens(ask())
