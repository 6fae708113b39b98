"""What peers say when they refuse becomes what Anthropic would have said.

Method: the bodies of real servers, word for word.
"""

import msgspec
import pytest

from faregate.upstreams.chat_errors import KINDS, Trouble, of_answer, of_chunk

OPENAI = (
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 140012 tokens. Please "
    "reduce the length of the messages."
)
VLLM_OLD = (
    "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens (5000 in the messages, 100 "
    "in the completion). Please reduce the length of the messages or completion."
)
VLLM = (
    "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens. Please reduce "
    "the length of the input messages."
)
VLLM_NEW = (
    "You passed 4097 input tokens and requested 1 output tokens. However, the model's context length is only 4096 "
    "tokens, resulting in a maximum input length of 4095 tokens."
)
VLLM_CAP = (
    "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens "
    "and your request has 10 input tokens (5000 > 4096 - 10)."
)
SGLANG = "The input (5000 tokens) is longer than the model's context length (4096 tokens)."
SGLANG_SUM = (
    "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5010 "
    "tokens: 10 tokens from the input messages and 5000 tokens for the completion. Please reduce the number of tokens "
    "in the input messages or the completion to fit within the limit."
)
LLAMA = "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (OPENAI, "prompt is too long: 140012 tokens > 128000 maximum"),
        (VLLM_OLD, "prompt is too long: 5000 tokens > 4096 maximum"),
        (VLLM, "prompt is too long: 5000 tokens > 4096 maximum"),
        (VLLM_NEW, "prompt is too long: 4097 tokens > 4096 maximum"),
        (SGLANG, "prompt is too long: 5000 tokens > 4096 maximum"),
        (LLAMA, "prompt is too long: 9031 tokens > 8192 maximum"),
        ("Input exceeds the available context size, sorry", "prompt is too long: Input exceeds the available context "
         "size, sorry"),
        *[(text, "input length and `max_tokens` exceed context limit: 10 + 5000 > 4096, decrease input length or "
           "`max_tokens` and try again") for text in (VLLM_CAP, SGLANG_SUM)],
    ],
)  # fmt: skip
def test_a_prompt_that_is_too_long_is_told_in_anthropics_words(message: str, told: str) -> None:
    for body in ({"error": {"message": message}}, {"object": "error", "message": message, "code": 400}):
        assert of_answer(400, msgspec.json.encode(body)) == Trouble(400, told)


def test_a_code_is_enough_to_know_it_by() -> None:
    openai = {"error": {"message": "Too much.", "code": "context_length_exceeded"}}
    llama = {"error": {"type": "exceed_context_size_error", "message": "?", "n_prompt_tokens": 9, "n_ctx": 8}}
    assert of_answer(400, msgspec.json.encode(openai)).message == "prompt is too long: Too much."
    assert of_answer(400, msgspec.json.encode(llama)).message == "prompt is too long: 9 tokens > 8 maximum"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "No.", "type": "invalid_request_error", "param": "x", "code": None}}, "No."),
        ({"object": "error", "message": "No.", "type": "BadRequestError", "code": 400}, "No."),
        ({"error": "No."}, "No."),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body", "messages", 0], "msg": "Field required"}]}, "messages.0: Field required"),
        ({"error": {"message": 3}}, ""), ({}, ""), ([], ""), (3, ""),
    ],
)  # fmt: skip
def test_a_message_is_found_in_every_envelope(body: object, message: str) -> None:
    assert of_answer(400, msgspec.json.encode(body)) == Trouble(400, message)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_has_no_message(body: bytes) -> None:
    assert of_answer(502, body) == Trouble(502, "")


def test_the_envelope_is_anthropics() -> None:
    assert Trouble(429, "Slow down.").envelope() == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Slow down."},
    }
    assert Trouble(500, "").kind == Trouble(418, "").kind == "api_error"
    assert KINDS[404] == "not_found_error"


def test_a_quota_that_is_used_up_is_about_the_operators_account() -> None:
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    assert of_answer(429, msgspec.json.encode(body)).status == 402


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "x", "code": 503}, 503),
        ({"message": "x", "code": "rate_limit_exceeded"}, 429),
        ({"message": "x", "type": "BadRequestError", "code": None}, 400),
        ({"message": "x", "type": "server_error"}, 500),
        ({"message": "x", "code": 200}, 500),
        ({"message": VLLM, "code": 400}, 400),
        ("x", 500), (None, 500), ([], 500),
    ],
)  # fmt: skip
def test_an_error_without_a_status_of_its_own_says_what_it_is_worth(error: object, status: int) -> None:
    assert of_chunk(error).status == status
