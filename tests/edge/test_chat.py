"""A call by OpenAI's door hears Messages, answers Chat Completions, and is a call like any other in between.

Method: a played connection, as in test_call; over real sockets the same is said in tests/contract/test_chat.py.
"""

import json
import tracemalloc
from typing import Any

import pytest

from faregate.core.errors import InvalidRequest, PaymentRequired, Unauthenticated, Unsupported
from faregate.edge.call import Call
from faregate.edge.chat import ChatCall
from faregate.edge.intake import Intake
from faregate.proxy.relay import PING
from faregate.shipped import load_catalog
from faregate.upstreams.script import frames_of
from tests.edge.line import PlayedLine

MESSAGE: dict[str, Any] = {
    "id": "msg_01M8DCSDA9D4HF608N5TESGHX8", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 3},
}  # fmt: skip
FRAMES = frames_of(MESSAGE)
ASK = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hello"}]}


async def asked(line: PlayedLine | None = None, **more: Any) -> tuple[ChatCall, dict[str, Any]]:
    """A call that was read, and what the story hears."""
    call = ChatCall(line or PlayedLine(), [], Intake(), "req_1")
    call.catalog = load_catalog()
    call.take(json.dumps({**ASK, **more}).encode())
    call.more_body = False
    return call, json.loads(await call.body())


@pytest.mark.parametrize(
    ("model", "max_tokens"), [("claude-haiku-4-5", 8_192), ("claude-haiku-4-5-20251001", 8_192), ("gpt-4o", 0), (7, 0)]
)
async def test_the_story_hears_a_messages_request_bounded_by_its_model(model: Any, max_tokens: int) -> None:
    _, document = await asked(model=model)

    assert document == {"model": model, "max_tokens": max_tokens, "messages": ASK["messages"]}


async def test_nothing_of_a_request_is_kept_but_what_the_story_hears() -> None:
    text = "x" * 4_000_000
    call = ChatCall(PlayedLine(), [], Intake(), "req_1")
    call.catalog = load_catalog()
    call.take(json.dumps({**ASK, "messages": [{"role": "user", "content": text}]}).encode())
    call.more_body = False
    tracemalloc.start()
    try:
        heard = await call.body()
        assert tracemalloc.get_traced_memory()[0] < 2 * len(heard)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("body", "code"), [(b"{", "invalid_body"), (b"[]", "invalid_body"), (b"{}", "invalid_param")])
async def test_a_body_that_is_no_request_is_refused(body: bytes, code: str) -> None:
    call = ChatCall(PlayedLine(), [], Intake(), "req_1")
    call.take(body)
    call.more_body = False
    with pytest.raises(InvalidRequest) as refused:
        await call.body()
    assert refused.value.code == code


async def test_an_answer_is_written_anew_with_its_own_length_and_both_ids() -> None:
    line = PlayedLine()
    call, _ = await asked(line)
    await call.answer(200, [(b"content-type", b"application/json")], json.dumps(MESSAGE).encode())

    said = line.said
    assert said.complete and json.loads(said.body)["object"] == "chat.completion"
    assert said.headers["request-id"] == said.headers["x-request-id"] == "req_1"
    assert "x-dropped-parameters" not in said.headers


async def test_what_was_dropped_here_and_there_is_named_once_and_as_it_was_sent() -> None:
    line = PlayedLine()
    call, _ = await asked(line, seed=1, reasoning_effort="high", thinking={"type": "adaptive"})
    await call.start([(b"x-dropped-parameters", b"thinking, output_config.effort"), (b"x-credits-max", b"1")])
    call.send(FRAMES[0])

    assert line.said.headers["x-dropped-parameters"] == "seed, thinking, reasoning_effort"
    assert b"".join(line.written).count(b"x-dropped-parameters") == 1
    assert line.said.headers["x-credits-max"] == "1"


async def test_a_stream_goes_out_as_it_comes_and_its_end_with_the_end() -> None:
    line = PlayedLine()
    call, _ = await asked(line, stream=True)
    await call.start([])
    call.send(FRAMES[0])
    call.send(PING)
    before = len(line.written)
    call.send(FRAMES[-3])  # content_block_stop: nothing to say, so nothing is written, and no chunk that would end it.

    assert len(line.written) == before == 2 and not line.said.complete
    assert line.said.body.endswith(b": ping\n\n")
    await call.end(FRAMES[-1])
    assert line.said.complete and line.said.body.endswith(b"data: [DONE]\n\n")


async def test_who_does_not_keep_up_is_waited_for() -> None:
    call, _ = await asked(line := PlayedLine())
    assert call.keeps_up
    line.flow.pause_writing()
    assert not call.keeps_up


async def refusal(error: Any, call: ChatCall) -> dict[str, Any]:
    await call.refuse(error)
    found: dict[str, Any] = json.loads(call._line.said.body)  # type: ignore[attr-defined]
    return found


async def test_an_error_has_openais_envelope_and_keeps_its_details() -> None:
    call, _ = await asked(line := PlayedLine())
    error = await refusal(PaymentRequired("Too dear.", details={"required": "5"}), call)

    assert error == {
        "error": {
            "message": "Too dear.",
            "type": "billing_error",
            "param": None,
            "code": "insufficient_credits",
            "details": {"required": "5", "error_code": "insufficient_credits"},
        },
        "request_id": "req_1",
    }
    assert (line.said.status, line.said.headers["x-should-retry"], line.said.headers["x-request-id"]) == (
        402, "false", "req_1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "param", "message"),
    [
        (
            InvalidRequest("max_tokens: 9 > 8", details={"parameter": "max_tokens"}),
            "max_completion_tokens", "max_completion_tokens: 9 > 8",
        ),
        (
            InvalidRequest("messages.0.content.1: No", details={"parameter": "messages.0.content.1"}),
            "messages.1", "messages.1: No",
        ),
        (Unsupported("thinking: No", details={"parameter": "thinking"}), "thinking", "thinking: No"),
        (InvalidRequest("model: No"), "model", "model: No"),
        (InvalidRequest("x-credits-limit: No"), None, "x-credits-limit: No"),
    ],
)  # fmt: skip
async def test_an_error_names_the_field_as_the_caller_knows_it(error: Any, param: str | None, message: str) -> None:
    call, _ = await asked(messages=[{"role": "system", "content": "Be short."}, *ASK["messages"]])
    said = (await refusal(error, call))["error"]

    assert (said["param"], said["message"]) == (param, message)
    assert said["details"].get("parameter") == (param if "parameter" in error.details else None)


async def test_before_the_body_is_read_an_error_has_the_same_envelope() -> None:
    call = ChatCall(PlayedLine(), [], Intake(), "req_1")

    assert (await refusal(Unauthenticated("No."), call))["error"]["code"] == "invalid_api_key"


async def test_an_error_in_a_stream_is_its_last_event_and_there_is_no_done() -> None:
    line = PlayedLine()
    call, _ = await asked(line, stream=True)
    await call.start([])
    call.send(FRAMES[0])
    await call.cut_off()

    *_, last = line.said.body.removesuffix(b"\n\n").split(b"\n\n")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
    assert line.said.complete and b"[DONE]" not in line.said.body


def test_it_is_a_call_to_everything_that_knows_calls() -> None:
    assert issubclass(ChatCall, Call)
