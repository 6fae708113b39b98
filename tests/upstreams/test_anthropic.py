"""The adapter sends our body, our key and two headers; it hides the key, and it knows its own count."""

import traceback
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from faregate.core.errors import BodyTooLarge, GatewayError, InvalidRequest
from faregate.upstreams.anthropic import HEADS_MAX, Anthropic
from faregate.upstreams.peer import FAILURES_MAX
from faregate.upstreams.pool import Limits
from faregate.upstreams.port import Fault, FaultKind, Upstream
from faregate.upstreams.reply import Timeouts
from faregate.upstreams.script import End, Play, Script, failure, plain
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import ask, whole

KEY = "sk-ant-hunter2"


class Pair:
    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.transport = Transport()

    def adapter(self, *, prefix: str = "", script: Script | None = None) -> Anthropic:
        self.server.play(script)
        return Anthropic(name="up", base_url=self.server.base_url + prefix, api_keys=[KEY], transport=self.transport)


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.server.start()
    yield pair
    await pair.transport.aclose()
    await pair.server.stop()


async def test_a_call_goes_up_with_our_bytes_our_key_and_the_two_headers_alone(pair: Pair) -> None:
    adapter: Upstream = pair.adapter()
    call = ask(stream=True, beta="a-2025,b-2026")
    answer = await adapter.send(call)
    assert answer.status == 200
    assert (await whole(answer)).endswith(b'data: {"type":"message_stop"}\n\n')
    seen = pair.server.log[0]
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/messages", call.body)
    assert seen.headers == {
        "host": pair.server.base_url.removeprefix("http://"),
        "accept-encoding": "identity",
        "x-api-key": KEY,
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": "faregate",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a-2025,b-2026",
        "content-length": str(len(call.body)),
    }


async def test_version_and_beta_are_each_calls_own(pair: Pair) -> None:
    adapter = pair.adapter()
    for version, beta in [("2023-06-01", None), ("2026-10-21", "x"), ("2023-06-01", None), ("2023-06-01", "y")]:
        await whole(await adapter.send(ask(version=version, beta=beta)))
        headers = pair.server.log[-1].headers
        assert (headers["anthropic-version"], headers.get("anthropic-beta")) == (version, beta)


async def test_a_bearer_key_goes_in_its_own_header_and_a_prefix_stands_before_the_path(pair: Pair) -> None:
    adapter = Anthropic(
        name="up",
        base_url=pair.server.base_url + "/gw/anthropic/",
        api_keys=[KEY],
        transport=pair.transport,
        auth="bearer",
    )
    await whole(await adapter.send(ask()))
    seen = pair.server.log[0]
    assert seen.path == "/gw/anthropic/v1/messages"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in seen.headers


async def test_a_server_that_has_a_name_of_its_own_for_the_model_is_asked_by_it(pair: Pair) -> None:
    mapped = Anthropic(
        name="up",
        base_url=pair.server.base_url,
        api_keys=[],
        transport=pair.transport,
        models={"claude-haiku-4-5": "qwen3:8b"},
    )
    call = ask(stream=True, system="Be kind.")
    await whole(await mapped.send(call))
    await mapped.count_tokens(call)
    sent, counted = (msgspec.json.decode(seen.body) for seen in pair.server.log)
    assert sent == {**call.document, "model": "qwen3:8b"}
    assert counted["model"] == "qwen3:8b"
    # Where nothing is configured, no key is sent at all; a model without a name of its own goes up untouched.
    assert not {"x-api-key", "authorization"} & set(pair.server.log[0].headers)
    other = msgspec.structs.replace(call, model="claude-y")
    await whole(await mapped.send(other))
    assert pair.server.log[-1].body == call.body


async def test_keys_are_used_in_turn(pair: Pair) -> None:
    adapter = Anthropic(name="up", base_url=pair.server.base_url, api_keys=["one", "two"], transport=pair.transport)
    for _ in range(3):
        await whole(await adapter.send(ask()))
    assert [seen.headers["x-api-key"] for seen in pair.server.log] == ["one", "two", "one"]


async def test_an_ipv6_address_is_a_base_url_as_good_as_another(pair: Pair) -> None:
    server = ScriptedServer(host="::1")
    try:
        await server.start()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    adapter = Anthropic(name="up", base_url=server.base_url, api_keys=[KEY], transport=pair.transport)
    assert (await adapter.send(ask())).status == 200
    assert server.log[0].headers["host"].startswith("[::1]:")
    await pair.transport.aclose()
    await server.stop()


@pytest.mark.parametrize("bad", ["a\r\nx-evil: 1", "a\nb", "a\x00b", "a\x01", " a", "日本"])
async def test_a_callers_header_that_could_add_another_is_refused_and_nothing_is_sent(pair: Pair, bad: str) -> None:
    adapter = pair.adapter()
    with pytest.raises(InvalidRequest, match=r"^anthropic-beta: "):
        await adapter.send(ask(beta=bad))
    with pytest.raises(InvalidRequest, match=r"^anthropic-version: "):
        await adapter.send(ask(version=bad))
    assert not pair.server.log


async def test_the_heads_that_are_kept_are_bounded_whatever_callers_send(pair: Pair) -> None:
    adapter = pair.adapter()
    for number in range(HEADS_MAX + 10):
        await whole(await adapter.send(ask(beta=f"beta-{number}")))
        assert pair.server.log[-1].headers["anthropic-beta"] == f"beta-{number}"
    await whole(await adapter.send(ask(beta="x" * 5000)))
    assert len(adapter._heads) <= HEADS_MAX
    assert not any("xxx" in str(key) for key in adapter._heads)


async def test_the_key_is_in_no_repr_and_no_fault(pair: Pair) -> None:
    adapter = pair.adapter(script=[Play(ending=End.REFUSE), Play(ending=End.GARBAGE, ending_after=0)])
    texts = [repr(adapter), str(adapter)]
    for _ in range(2):
        try:
            await adapter.send(ask())
        except Fault as fault:
            texts += [str(fault), repr(fault), *traceback.format_exception(fault)]
    assert len(texts) > 4
    assert not any("hunter2" in text for text in texts)


@pytest.mark.parametrize(
    ("setting", "value"), [("base_url", "nonsense-hunter2"), ("api_key", "hunter2\r\nx: y"), ("api_key", "")]
)
async def test_a_setting_that_cannot_work_is_refused_at_once_without_its_value(
    pair: Pair, setting: str, value: str
) -> None:
    settings = {"base_url": "http://h", "api_key": "k", setting: value}
    with pytest.raises(ValueError) as refusal:
        Anthropic(name="up", base_url=settings["base_url"], api_keys=[settings["api_key"]], transport=pair.transport)
    assert "hunter2" not in str(refusal.value)


# count_tokens


async def test_count_tokens_is_asked_with_what_it_takes_and_no_more(pair: Pair) -> None:
    adapter = pair.adapter(script=[plain({"input_tokens": 17})])
    call = ask(stream=True, system="be brief", temperature=0.5, stop_sequences=["x"], metadata={"user_id": "u"})
    assert await adapter.count_tokens(call) == 17
    seen = pair.server.log[0]
    assert seen.path == "/v1/messages/count_tokens"
    assert seen.document == {
        "model": "claude-haiku-4-5",
        "messages": call.document["messages"],
        "system": "be brief",
    }


async def test_an_upstream_without_a_count_gives_none(pair: Pair) -> None:
    assert await pair.adapter(script=[failure(404, "not_found_error", "no")]).count_tokens(ask()) is None


@pytest.mark.parametrize(("status", "error"), [(400, InvalidRequest), (413, BodyTooLarge)])
async def test_a_refusal_to_count_is_the_callers_in_upstreams_words(
    pair: Pair, status: int, error: type[GatewayError]
) -> None:
    adapter = pair.adapter(script=[failure(status, "invalid_request_error", "messages: too odd"), Play(status=status)])
    with pytest.raises(error, match=r"^messages: too odd$"):
        await adapter.count_tokens(ask())
    with pytest.raises(error, match="refused to count"):
        await adapter.count_tokens(ask())


async def test_a_prompt_that_is_too_long_to_count_has_the_code_of_one_that_is_too_long_to_send(pair: Pair) -> None:
    adapter = pair.adapter(script=[failure(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")])
    with pytest.raises(InvalidRequest, match="prompt is too long") as caught:
        await adapter.count_tokens(ask())
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "play",
    [
        failure(401, "authentication_error", "bad key sk-ant-hunter2"),
        failure(400, "invalid_request_error", "This organization has been disabled: hunter2"),
        failure(429, "rate_limit_error", "slow"),
        failure(500, "api_error", "x"),
        plain({"input_tokens": "17"}),
        plain({"input_tokens": -1}),
        plain({"tokens": 17}),
        Play(frames=(b"not json",)),
        plain({"input_tokens": 17, "padding": "x" * 300_000}),
        Play(ending=End.REFUSE),
    ],
)
async def test_a_count_that_did_not_come_is_a_fault_without_upstreams_words(pair: Pair, play: Play) -> None:
    with pytest.raises(Fault) as caught:
        await pair.adapter(script=[play]).count_tokens(ask())
    assert "hunter2" not in str(caught.value)


# Health and deadlines


async def test_it_is_unhealthy_after_connections_failed_in_a_row_and_healthy_with_the_first_that_works(
    pair: Pair,
) -> None:
    adapter = pair.adapter()
    port = int(pair.server.base_url.rsplit(":", 1)[1])
    await pair.server.stop()
    for failures in range(FAILURES_MAX):
        assert adapter.healthy(), f"after {failures} failures"
        with pytest.raises(Fault):
            await adapter.send(ask())
    assert not adapter.healthy()
    pair.server = ScriptedServer(port=port)
    await pair.server.start()
    await whole(await adapter.send(ask()))
    assert adapter.healthy()


async def test_it_may_be_tried_again_some_time_after_the_last_failure(pair: Pair) -> None:
    await pair.server.stop()
    for recovery_s, healthy in ((3600.0, False), (0.0, True)):
        adapter = Anthropic(
            name="up", base_url=pair.server.base_url, api_keys=[KEY], transport=pair.transport, recovery_s=recovery_s
        )
        for _ in range(FAILURES_MAX):
            with pytest.raises(Fault):
                await adapter.send(ask())
        assert adapter.healthy() is healthy


async def test_broken_answers_are_not_held_against_its_health(pair: Pair) -> None:
    adapter = pair.adapter(script=[Play(ending=End.REFUSE)] * 5)
    for _ in range(5):
        with pytest.raises(Fault):
            await adapter.send(ask())
    assert adapter.healthy()


async def test_a_plain_answer_may_take_longer_to_begin_than_a_streamed_one() -> None:
    server = ScriptedServer(lambda seen: Play(raw=b"", ending=End.STALL))
    await server.start()
    transport = Transport(timeouts=Timeouts(first_byte=0.05, first_byte_plain=0.2), limits=Limits())
    adapter = Anthropic(name="up", base_url=server.base_url, api_keys=[KEY], transport=transport)
    for stream, seconds in ((True, "0.05 s"), (False, "0.2 s")):
        with pytest.raises(Fault, match=f"within {seconds}") as caught:
            await adapter.send(ask(stream=stream))
        assert caught.value.kind is FaultKind.TIMEOUT
    await transport.aclose()
    await server.stop()
