"""Counts are read as they are meant, or not at all."""

from typing import Any

import pytest

from faregate.core.meter import Meter
from faregate.upstreams.chat_usage import Counts, at_end, at_start, counts, estimated
from tests.upstreams.chat_peer import usage


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (usage(40, 7), (40, 0, 7, 0)),
        (usage(40, 7, cached=30), (40, 30, 7, 0)),
        (usage(40, 7, cached=50), (40, 40, 7, 0)),  # more than there was cannot have been cached
        (usage(40, 7, completion_tokens_details={"reasoning_tokens": 5}), (40, 0, 7, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}, (9, 8, 1, 0)),
        (usage(0, 0), (0, 0, 0, 0)),
        (usage(40, 7, prompt_tokens_details=3), (40, 0, 7, 0)),
    ],
)
def test_cached_and_reasoned_tokens_are_part_of_the_totals(told: Any, found: tuple[int, ...]) -> None:
    read = counts(told)
    assert read == Counts(prompt=found[0], cached=found[1], completion=found[2], reasoning=found[3])


@pytest.mark.parametrize(
    "told",
    [None, 3, [], {}, {"prompt_tokens": 3}, {"completion_tokens": 3}, usage(-1, 3), usage(3, -1),
     {"prompt_tokens": True, "completion_tokens": 3}, {"prompt_tokens": 3.0, "completion_tokens": 3},
     usage(10**12, 3)],
)  # fmt: skip
def test_what_does_not_count_both_sides_is_as_good_as_nothing(told: Any) -> None:
    assert counts(told) is None


def test_a_meter_bills_cached_tokens_once() -> None:
    meter = Meter()
    meter.start(at_start(None, 99))
    found = counts(usage(40, 7, cached=30))
    assert found is not None
    meter.delta(at_end(found, input_guess=99, text_bytes=0, warming=False))
    meter.stop()
    reading = meter.close()
    assert (reading.usage.input, reading.usage.cache_read, reading.usage.output) == (10, 30, 7)
    assert (reading.usage.cache_write_5m, reading.usage.cache_write_1h, reading.basis) == (0, 0, "upstream")


def test_a_meter_knows_our_own_count_from_the_peers() -> None:
    meter = Meter()
    meter.start(at_start(None, 99))
    meter.delta(estimated(99, 41))
    meter.stop()
    reading = meter.close()
    assert (reading.usage.input, reading.usage.output, reading.basis) == (99, 11, "counted")


def test_thinking_is_told_within_the_output_and_a_pre_warm_has_none() -> None:
    found = Counts(prompt=9, cached=0, completion=7, reasoning=5)
    assert at_end(found, input_guess=99, text_bytes=0, warming=False)["output_tokens_details"] == {"thinking_tokens": 5}
    assert at_end(found, input_guess=99, text_bytes=0, warming=True)["output_tokens"] == 0


@pytest.mark.parametrize(
    ("prompt", "completion", "text_bytes", "billed"),
    [(0, 7, 41, (99, 7, "counted")), (40, 0, 41, (40, 11, "counted")), (0, 0, 41, (99, 11, "counted")),
     (40, 0, 0, (40, 0, "upstream")), (40, 7, 41, (40, 7, "upstream"))],
)  # fmt: skip
def test_a_zero_for_what_was_there_is_counted_by_us(
    prompt: int, completion: int, text_bytes: int, billed: tuple[int, int, str]
) -> None:
    found = counts(usage(prompt, completion))
    assert found is not None
    meter = Meter()
    meter.start(at_start(found, 99))
    assert meter.close().usage.input == billed[0]  # What a caller who hangs up now is billed.
    meter.delta(at_end(found, input_guess=99, text_bytes=text_bytes, warming=False))
    meter.stop()
    reading = meter.close()
    assert (reading.usage.input, reading.usage.output, reading.basis) == billed
