"""Callers of another age, and more of them than there is room for: HTTP/1.0, a bad target, a bound on calls.

Method: bytes on real sockets against a running gateway.
"""

from pathlib import Path

import pytest

from faregate.upstreams.script import End, stream
from faregate.wire import sse
from tests.contract.riders import Rider, request, streamed, until
from tests.contract.test_errors_at_the_door import MESSAGE
from tests.gateway import ASK, running


async def test_a_stream_to_http_1_0_has_no_chunks_and_ends_with_its_connection(tmp_path: Path) -> None:
    async with running(tmp_path, script=[stream(MESSAGE)]) as gate:
        rider = await Rider.connect(gate)
        key = await gate.key()
        await rider.send(request(key, streamed()).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        head, _, body = (await rider.rest()).partition(b"\r\n\r\n")
        rider.leave()
        (receipt,) = await gate.settled(key)

    assert head.startswith(b"HTTP/1.1 200") and b"transfer-encoding" not in head and b"connection: close" in head
    assert body.startswith(b"event: message_start") and sse.cut(body)[-1].startswith(b"event: message_stop")
    assert receipt["outcome"] == "ok"


async def test_a_bad_target_behind_an_answer_is_told_so_in_the_envelope(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        rider = await Rider.connect(gate)
        await rider.send(request("no-key"))
        await rider.until(b'"request_id":')
        await rider.send(b"POST http://[ HTTP/1.1\r\nhost: x\r\n\r\n")
        said = await rider.rest()
        rider.leave()

    assert said.count(b"HTTP/1.1 401") == 1 and said.count(b"HTTP/1.1 400") == 1
    assert said.count(b'"type":"error"') == 2


@pytest.mark.parametrize("asks", [{}, {"stream": True}])
async def test_one_call_more_than_there_is_room_for_is_refused_at_once(tmp_path: Path, asks: dict[str, bool]) -> None:
    stalled = stream(MESSAGE, ending=End.STALL, ending_after=2)
    async with running(tmp_path, script=[stalled, None], toml="[server]\ncalls_max = 1\n") as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        await rider.until(b"message_start")

        refused = await gate.message(key, {**ASK, **asks})
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["details"]["error_code"] == "busy"

        rider.leave()
        await gate.settled(key)
        await until(lambda: gate.running.door.open_calls == 0)
        assert (await gate.message(key)).status_code == 200
        metrics = (await gate.get("/metrics")).text
    assert 'status="503"' in metrics
