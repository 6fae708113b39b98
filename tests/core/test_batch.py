"""The rules of batches: half the price rounded down once, what its caller is shown, and how its results are written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core import batch
from faregate.core.batch import Batch, BatchState, RequestState, half, halved, line, pause_ms, succeeded, view, within
from faregate.core.errors import Forbidden, InvalidRequest, NotFound
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.wire.usage import Usage

counts = st.integers(0, 10_000)
rates = st.integers(0, 100_000).map(Nanos)
MADE = Batch(wallet_id="w", id="msgbatch_1", state=BatchState.IN_PROGRESS, total=4, created_at_ms=0, expires_at_ms=9)


@given(rate=rates, output=rates, sent=counts, got=counts, read=counts)
def test_a_batch_pays_half_rounded_down_once_and_never_more(
    rate: Nanos, output: Nanos, sent: int, got: int, read: int
) -> None:
    price = PriceVersion(
        id="p", model="m", valid_from_ms=0, input=rate, output=output, cache_write_5m=rate, cache_write_1h=rate,
        cache_read=Nanos(rate // 10),
    )  # fmt: skip
    usage = Usage(input=sent, output=got, cache_read=read)
    cost = halved(price).cost(usage)

    assert cost == price.cost(usage) // 2
    assert 0 <= price.cost(usage) - 2 * cost <= 1
    assert half(price.cost(usage) + 5) >= cost, "a ceiling stays one"


def test_odd_prices_are_halved_after_they_are_added() -> None:
    odd = PriceVersion(
        id="p", model="m", valid_from_ms=0, input=Nanos(1), output=Nanos(1), cache_write_5m=Nanos(1),
        cache_write_1h=Nanos(1), cache_read=Nanos(1),
    )  # fmt: skip

    assert [halved(odd).cost(Usage(input=1, output=count)) for count in range(4)] == [0, 1, 1, 2]
    assert halved(odd).whole(Usage(input=1, output=2)) == 3, "what is lost is lost at upstream's price"
    assert batch.whole(half(3)) == 2


def test_until_all_of_it_has_ended_every_request_is_processing() -> None:
    running = Batch(wallet_id="w", id="b", state=BatchState.CANCELING, total=4, succeeded=2, canceled=1,
                    created_at_ms=0, expires_at_ms=9, cancel_at_ms=5)  # fmt: skip
    shown = view(running, "http://gate")

    assert shown["request_counts"] == {"processing": 4, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    assert (shown["processing_status"], shown["ended_at"], shown["results_url"]) == ("canceling", None, None)
    assert shown["cancel_initiated_at"] is not None


def test_a_batch_that_has_ended_says_where_its_results_are_while_they_are_kept() -> None:
    fields: dict[str, Any] = {"state": BatchState.ENDED, "total": 4, "succeeded": 3, "expired": 1, "ended_at_ms": 7}
    ended = Batch(wallet_id="w", id="b", created_at_ms=0, expires_at_ms=9, **fields)
    shown = view(ended, "https://gate.example")

    assert shown["request_counts"] == {"processing": 0, "succeeded": 3, "errored": 0, "canceled": 0, "expired": 1}
    assert shown["results_url"] == "https://gate.example/v1/messages/batches/b/results"
    archived = Batch(wallet_id="w", id="b", created_at_ms=0, expires_at_ms=9, archived_at_ms=8, **fields)
    assert view(archived, "x")["results_url"] is None and view(archived, "x")["archived_at"] is not None


def test_a_message_becomes_one_line_of_the_batchs_tier_and_nothing_else_of_it_changes() -> None:
    body = b'{"type": "message",\n "content": [{"text":\n"a\\nb", "n": 1.50}], "usage": {"input_tokens": 5}}'
    written = line("one", RequestState.SUCCEEDED, succeeded(body))

    assert written.count(b"\n") == 1 and b"1.50" in written
    assert json.loads(written) == {
        "custom_id": "one",
        "result": {
            "type": "succeeded",
            "message": {
                "type": "message",
                "content": [{"text": "a\nb", "n": 1.5}],
                "usage": {"input_tokens": 5, "service_tier": "batch"},
            },
        },
    }
    assert json.loads(succeeded(b'{"usage": null}')) == {"usage": {"service_tier": "batch"}}
    assert json.loads(succeeded(b"{}")) == {"usage": {"service_tier": "batch"}}


def test_an_error_is_the_envelope_that_its_call_would_have_got() -> None:
    result = batch.errored(InvalidRequest("x: no", details={"parameter": "x"}), "req_1")

    assert json.loads(line("a", RequestState.ERRORED, result)) == {
        "custom_id": "a",
        "result": {
            "type": "errored",
            "error": {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "x: no",
                    "details": {"parameter": "x", "error_code": "invalid_param"},
                },
                "request_id": "req_1",
            },
        },
    }
    assert line("a", RequestState.CANCELED, None) == b'{"custom_id":"a","result":{"type":"canceled"}}\n'


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (InvalidRequest("max_tokens: no", details={"parameter": "max_tokens"}), "requests.3.params.max_tokens: no"),
        (InvalidRequest("prompt is too long: 9 tokens > 5 maximum"), "requests.3.params: prompt is too long: 9 tokens"),
        (NotFound("model: x", code="model_not_found"), "requests.3.params.model: x"),
        (Forbidden("model: not yours"), "requests.3.params.model: not yours"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_of_its_place(error: Any, says: str) -> None:
    told = within(error, 3)

    assert type(told) is type(error) and told.code == error.code
    assert told.message.startswith(says)
    if "parameter" in error.details:
        assert told.details["parameter"] == "requests.3.params.max_tokens"


def test_pauses_grow_and_all_tries_fit_into_a_tenth_of_a_day() -> None:
    pauses = [pause_ms(tries) for tries in range(1, batch.TRIES_MAX)]

    assert pauses == [5_000, 20_000, 80_000, 320_000]
    assert sum(pauses) < batch.LIFE_MS // 10
    assert pause_ms(0) == 5_000 and MADE.total == 4
