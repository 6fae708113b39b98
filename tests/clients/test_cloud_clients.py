"""What we send to a cloud is what Anthropic's client for it sends, and what we read of it is what that client reads.

Method: the official SDK's Bedrock and Vertex clients before the peers that our adapters are tested with.
"""

from typing import Any
from urllib.parse import unquote

import anthropic
import httpx2
from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder

from faregate.upstreams.bedrock import Bedrock
from faregate.upstreams.eventstream import Translation
from faregate.upstreams.script import Seen, plain
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from faregate.upstreams.vertex import Vertex
from faregate.wire import sse
from tests.contract.riders import message
from tests.upstreams.asking import ask, whole
from tests.upstreams.test_eventstream import WIRE
from tests.upstreams.vertex_peer import PROJECT, REGION

BEDROCK, VERTEX = "us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5@20251001"
VERSION = "2026-10-21"
"""What the client of this era sends, to the clouds too."""
BETA = "context-1m-2025-08-07"
ASKED: dict[str, Any] = {"max_tokens": 100, "messages": [{"role": "user", "content": "Which gate opens?"}]}


def essence(seen: Seen) -> tuple[str, dict[str, Any], str | None]:
    return unquote(seen.path.partition("?")[0]), seen.document, seen.headers.get("anthropic-beta")


async def test_a_call_to_bedrock_is_the_one_that_anthropics_client_makes() -> None:
    server, transport = ScriptedServer(lambda seen: plain(message(input_tokens=1, output_tokens=1))), Transport()
    await server.start()
    http = httpx2.AsyncClient(trust_env=False)
    async with anthropic.AsyncAnthropicBedrock(
        api_key="k", aws_region="eu-north-1", base_url=server.base_url, http_client=http
    ) as client:
        messages: Any = client.beta.messages
        await messages.create(model=BEDROCK, betas=[BETA], **ASKED)
    ours = Bedrock(
        name="aws",
        base_url=server.base_url,
        region="eu-north-1",
        transport=transport,
        models={"claude-haiku-4-5": BEDROCK},
        api_key="k",
    )
    await whole(await ours.send(ask(version=VERSION, beta=BETA)))
    theirs, own = server.log
    assert essence(own)[:2] == essence(theirs)[:2]  # It leaves the header beside what it wrote into the body.
    assert own.headers["authorization"] == theirs.headers["authorization"]
    await transport.aclose()
    await server.stop()


async def test_a_call_to_vertex_is_the_one_that_anthropics_client_makes() -> None:
    server, transport = ScriptedServer(lambda seen: plain(message(input_tokens=1, output_tokens=1))), Transport()
    await server.start()
    http = httpx2.AsyncClient(trust_env=False)
    async with anthropic.AsyncAnthropicVertex(
        access_token="t", project_id=PROJECT, region=REGION, base_url=f"{server.base_url}/v1", http_client=http
    ) as client:
        messages: Any = client.beta.messages
        await messages.create(model=VERTEX, betas=[BETA], stream=False, **ASKED)
        await messages.count_tokens(model=VERTEX, messages=ASKED["messages"])
    models = {"claude-haiku-4-5": VERTEX}
    ours = Vertex(
        name="google",
        base_url=server.base_url,
        project=PROJECT,
        region=REGION,
        transport=transport,
        models=models,
    )
    proven: Any = ours._tokens
    proven._value = (("authorization", "Bearer t"),)
    proven._source.due = lambda within_s: False
    await whole(await ours.send(ask(version=VERSION, beta=BETA)))
    server.play([plain({"input_tokens": 1})])
    await ours.count_tokens(ask(version=VERSION))
    theirs, their_count, own, own_count = server.log
    assert essence(own) == essence(theirs)
    assert own.headers["authorization"] == theirs.headers["authorization"]
    assert essence(own_count)[0] == essence(their_count)[0]
    assert own_count.document == their_count.document
    await transport.aclose()
    await server.stop()


def test_an_event_stream_is_what_anthropics_client_reads_of_it() -> None:
    theirs = [(found.event, found.data) for found in AWSEventStreamDecoder().iter_bytes(iter([WIRE]))]
    ours = [(found.event.decode(), found.data.decode()) for found in sse.frames(Translation("aws").feed(WIRE))]
    assert ours[:-1] == theirs[:-1] and len(ours) == len(theirs) > 10
    assert "invocationMetrics" in theirs[-1][1] and ours[-1] == ("message_stop", '{"type":"message_stop"}')
