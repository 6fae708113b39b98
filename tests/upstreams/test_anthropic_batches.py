"""An upstream's own batches: handed over whole, asked after with the key that made them, and read line by line.

Method: the real transport against a peer on loopback that has batches, and against plays of what goes wrong.
"""

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from faregate.upstreams import anthropic_batches
from faregate.upstreams.anthropic import Anthropic
from faregate.upstreams.anthropic_batches import AnthropicBatches
from faregate.upstreams.port import BatchRefused, BatchUpstream, Fault, FaultKind
from faregate.upstreams.script import End, Play, Script, failure, plain
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import ask
from tests.upstreams.batch_peer import BatchPeer, succeeded

KEYS = ["sk-ant-one", "sk-ant-two"]
VERSION = "2023-06-01"
MESSAGE = {"type": "message", "usage": {"input_tokens": 1, "output_tokens": 1}}


class Pair:
    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.transport = Transport()
        self.wire = 0

    def batches(self, script: Script, *, keys: list[str] = KEYS[:1], prefix: str = "") -> AnthropicBatches:
        self.server.play(script)
        return Anthropic(
            name="up",
            base_url=self.server.base_url + prefix,
            api_keys=keys,
            transport=self.transport,
            models={"claude-haiku-4-5": "theirs"},
        ).batches

    def on_wire(self) -> None:
        self.wire += 1

    async def create(self, batches: BatchUpstream, *entries: bytes, beta: str | None = None) -> str:
        return await batches.create(entries, version=VERSION, beta=beta, on_wire=self.on_wire)


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.server.start()
    yield pair
    await pair.transport.aclose()
    await pair.server.stop()


def results(*pieces: bytes, **more: object) -> Play:
    return Play(frames=pieces, framing="chunked", content_type="application/x-jsonl", **more)  # type: ignore[arg-type]


async def lines(batches: BatchUpstream, id_: str = "b") -> list[bytes]:
    return [line async for line in batches.results(id_, VERSION)]


async def test_a_batch_is_made_asked_after_and_read_back(pair: Pair) -> None:
    peer = BatchPeer(lambda custom_id, params: succeeded(MESSAGE), polls=2)
    batches = pair.batches(peer)
    call = ask()
    id_ = await pair.create(batches, batches.entry("msg_1", call), batches.entry("msg_2", call), beta="a-2025")

    assert pair.wire == 1
    assert [await batches.has_ended(id_, VERSION) for _ in range(2)] == [False, True]
    found = [msgspec.json.decode(line) for line in await lines(batches, id_)]
    assert [line["custom_id"] for line in found] == ["msg_2", "msg_1"]
    entry = peer.batches[id_].requests[0]
    assert entry["params"]["model"] == "theirs" and entry["params"]["max_tokens"] == call.document["max_tokens"]
    assert [(seen.method, seen.path) for seen in peer.asked] == [
        ("POST", "/v1/messages/batches"),
        *[("GET", f"/v1/messages/batches/{id_}")] * 2,
        ("GET", f"/v1/messages/batches/{id_}/results"),
    ]
    assert {seen.headers["x-api-key"] for seen in peer.asked} == {KEYS[0]}
    assert peer.asked[0].headers["anthropic-beta"] == "a-2025"


async def test_what_is_canceled_is_canceled_at_its_own_place(pair: Pair) -> None:
    batches = pair.batches([plain({"id": "b", "processing_status": "canceling"})], prefix="/proxy")
    await batches.cancel("b", VERSION)

    assert [(seen.method, seen.path) for seen in pair.server.log] == [("POST", "/proxy/v1/messages/batches/b/cancel")]


async def test_a_batch_is_asked_after_with_each_key_until_one_knows_it(pair: Pair) -> None:
    batches = pair.batches([failure(404, "not_found_error", "no"), plain({"id": "b", "processing_status": "ended"})],
                           keys=KEYS)  # fmt: skip

    assert await batches.has_ended("b", VERSION)
    assert [seen.headers["x-api-key"] for seen in pair.server.log] == KEYS


@pytest.mark.parametrize(
    ("status", "message", "again"),
    [
        (400, "requests: no", False), (400, "Your credit balance is too low", True), (401, "key", True),
        (403, "no", True), (404, "no", False), (405, "no", False), (413, "large", False), (429, "rate", True),
        (500, "oops", True), (529, "busy", True),
    ],
)  # fmt: skip
async def test_a_refusal_says_whether_to_come_back(pair: Pair, status: int, message: str, again: bool) -> None:  # noqa: FBT001
    batches = pair.batches([failure(status, "any_error", f"{message} {KEYS[0]}", retry_after="7")])
    with pytest.raises(BatchRefused) as refusal:
        await pair.create(batches, b"{}")

    assert (refusal.value.again, refusal.value.asked_ms) == (again, 7_000)
    assert KEYS[0] not in str(refusal.value) and message in str(refusal.value)


@pytest.mark.parametrize(
    "wrong", [plain({}), plain({"id": "../other"}), plain({"id": "x" * 201}), Play(frames=(b"x" * 300_000,))]
)
async def test_an_answer_that_is_no_batch_is_a_fault(pair: Pair, wrong: Play) -> None:
    with pytest.raises(Fault) as fault:
        await pair.create(pair.batches([wrong]), b"{}")
    assert fault.value.kind is FaultKind.PROTOCOL


async def test_results_are_cut_by_lines_wherever_their_bytes_were(pair: Pair) -> None:
    batches = pair.batches([results(b"on", b"e", b"\ntwo\n\nthr", b"ee\nrest")])

    assert await lines(batches) == [b"one", b"two", b"", b"three", b"rest"]


async def test_a_line_has_a_bound(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic_batches, "LINE_BYTES_MAX", 10)
    with pytest.raises(Fault, match="over 10 bytes"):
        await lines(pair.batches([results(b"short\n", b"x" * 11)]))


async def test_results_that_break_off_are_a_fault_after_what_had_come(pair: Pair) -> None:
    batches = pair.batches([results(b"one\n", b"two\n", ending=End.RESET, ending_after=1, gap_ms=20)])
    found = []
    with pytest.raises(Fault):
        async for line in batches.results("b", VERSION):
            found.append(line)
    assert found == [b"one"]


async def test_results_that_are_not_there_are_refused(pair: Pair) -> None:
    with pytest.raises(BatchRefused):
        await lines(pair.batches([failure(404, "not_found_error", "no")]))


async def test_a_redirect_of_results_is_not_followed(pair: Pair) -> None:
    elsewhere = plain({}, status=302, headers=(("location", "http://127.0.0.1:9/elsewhere"),))
    with pytest.raises(BatchRefused):
        await lines(pair.batches([elsewhere]))
    assert len(pair.server.log) == 1


async def test_a_header_of_the_callers_that_cannot_be_sent_refuses_the_batch_before_anything_is(pair: Pair) -> None:
    with pytest.raises(BatchRefused, match="anthropic-beta") as refusal:
        await pair.create(pair.batches([]), b"{}", beta="a\xa0")

    assert not refusal.value.again and not pair.wire and not pair.server.log


async def test_a_key_whose_queue_is_full_still_serves_calls(pair: Pair) -> None:
    pair.server.play([failure(429, "rate_limit_error", "full")] * 2)
    upstream = Anthropic(name="up", base_url=pair.server.base_url, api_keys=KEYS, transport=pair.transport)
    with pytest.raises(BatchRefused):
        await pair.create(upstream.batches, b"{}")
    answers = [await upstream.send(ask()) for _ in KEYS]

    assert [answer.status for answer in answers] == [200, 200]
    assert {seen.headers["x-api-key"] for seen in list(pair.server.log)[2:]} == set(KEYS)
