"""The meter must tell the truth about every prefix of every answer, and never raise on nonsense.

Method: play well-formed and nonsensical counts, close anywhere, and compare with facts that need no second meter.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.ledger import Basis
from faregate.core.meter import TOKENS_MAX, Meter, Progress
from faregate.wire.usage import NOTHING, Usage

COUNTS = st.integers(0, 100_000)
NONSENSE = st.one_of(
    st.none(), st.booleans(), st.integers(max_value=-1), st.floats(), st.text(), st.just(10**18), st.lists(COUNTS)
)


def usage_of(**counts: int) -> dict[str, Any]:
    return dict(counts)


def test_nothing_started_used_nothing() -> None:
    assert Meter().close().usage == NOTHING
    assert Meter().close().basis is Basis.NOTHING


@given(COUNTS, COUNTS, COUNTS, st.lists(COUNTS, min_size=1, max_size=5))
def test_a_whole_answer_reads_as_its_last_counts(fresh: int, read: int, written: int, outputs: list[int]) -> None:
    meter = Meter()
    meter.start(
        usage_of(input_tokens=fresh, cache_read_input_tokens=read, cache_creation_input_tokens=written, output_tokens=1)
    )
    for output in outputs:
        meter.delivered(1_000)
        meter.delta(usage_of(output_tokens=output))
    meter.stop()

    reading = meter.close()
    assert reading.basis is Basis.UPSTREAM
    assert reading.usage == Usage(input=fresh, cache_read=read, cache_write_5m=written, output=outputs[-1])


@given(COUNTS, COUNTS, COUNTS)
def test_an_explicit_zero_overwrites_and_an_absent_field_does_not(fresh: int, read: int, output: int) -> None:
    meter = Meter()
    meter.start(usage_of(input_tokens=fresh, cache_read_input_tokens=read, output_tokens=3))
    meter.delta({"output_tokens": output, "cache_read_input_tokens": 0, "input_tokens": None})
    meter.stop()

    assert meter.close().usage == Usage(input=fresh, cache_read=0, output=output)


def test_a_delta_may_raise_the_input() -> None:
    meter = Meter()
    meter.start(usage_of(input_tokens=25, output_tokens=1))
    meter.delta(usage_of(input_tokens=40, output_tokens=9))
    meter.stop()

    assert meter.close().usage == Usage(input=40, output=9)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 500), max_size=20))
def test_a_cut_answer_is_counted_and_grows_with_every_byte(fresh: int, sizes: list[int]) -> None:
    meter = Meter()
    meter.start(usage_of(input_tokens=fresh, output_tokens=2))
    last = meter.close().usage.output
    for size in sizes:
        meter.delivered(size)
        reading = meter.close()
        assert reading.basis is Basis.COUNTED
        assert reading.usage.output >= last
        last = reading.usage.output
    assert last == max(2, -(-sum(sizes) // 4))


def test_what_passes_after_a_count_is_added_to_it() -> None:
    meter = Meter()
    meter.start(usage_of(input_tokens=5, output_tokens=1))
    meter.delivered(400)
    meter.delta(usage_of(output_tokens=70))
    meter.delivered(40)

    assert meter.close().usage.output == 80


@given(st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cache_read_input_tokens"]), NONSENSE))
def test_nonsense_counts_as_absent(nonsense: dict[str, Any]) -> None:
    meter = Meter()
    meter.start(usage_of(input_tokens=7, output_tokens=1))
    meter.delta(nonsense)
    meter.delta(usage_of(output_tokens=5))
    meter.delta(nonsense)
    meter.stop()

    assert meter.close().usage == Usage(input=7, output=5)


@given(st.one_of(NONSENSE, st.dictionaries(st.text(), NONSENSE)), st.one_of(NONSENSE, st.just({"cache_creation": 3})))
def test_a_meter_never_raises_and_never_reads_below_zero_or_above_the_bound(a: Any, b: Any) -> None:
    meter = Meter(input_guess=11)
    for event in (meter.start, meter.delta, meter.delta):
        event(a)
        event(b)
        usage = meter.close().usage
        assert all(0 <= count <= TOKENS_MAX for count in (usage.input, usage.output, usage.cache_read))
    meter.stop()
    assert meter.close().basis in (Basis.COUNTED, Basis.UPSTREAM)


def test_an_input_that_was_never_counted_is_guessed_and_said_to_be() -> None:
    meter = Meter(input_guess=123)
    meter.start({})
    meter.delta(usage_of(output_tokens=4))
    meter.stop()

    assert meter.close().usage == Usage(input=123, output=4)
    assert meter.close().basis is Basis.COUNTED


def test_an_input_that_is_said_to_be_zero_is_zero() -> None:
    meter = Meter(input_guess=123)
    meter.start(usage_of(input_tokens=0, output_tokens=0))
    meter.delta(usage_of(output_tokens=0))
    meter.stop()

    assert meter.close().usage == NOTHING
    assert meter.close().basis is Basis.UPSTREAM


@pytest.mark.parametrize(
    ("creation", "unsplit_1h", "expected"),
    [
        ({"cache_creation_input_tokens": 10}, False, (10, 0)),
        ({"cache_creation_input_tokens": 10}, True, (0, 10)),
        ({"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, False, (6, 4)),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}, False, (3, 4)),
        ({"cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, False, (0, 2)),
        ({"cache_creation_input_tokens": 0, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, False, (0, 0)),
    ],
)
def test_cache_writes_are_divided_by_their_lifetime(
    creation: dict[str, Any],
    unsplit_1h: bool,  # noqa: FBT001  # pytest passes parameters by name
    expected: tuple[int, int],
) -> None:
    meter = Meter(unsplit_1h=unsplit_1h)
    meter.start({"input_tokens": 1, "output_tokens": 1, **creation})

    usage = meter.close().usage
    assert (usage.cache_write_5m, usage.cache_write_1h) == expected


def test_writes_raised_above_the_split_go_to_the_five_minute_column() -> None:
    meter = Meter()
    meter.start({"input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 100}})
    meter.delta({"output_tokens": 1, "cache_creation_input_tokens": 130})

    usage = meter.close().usage
    assert (usage.cache_write_5m, usage.cache_write_1h) == (30, 100)


@given(st.lists(st.sampled_from(["start", "delta", "delivered", "stop", "fail"]), max_size=8))
def test_nothing_after_the_end_is_metered(noise: list[str]) -> None:
    for end in ("stop", "fail"):
        meter = Meter()
        meter.start(usage_of(input_tokens=5, output_tokens=1))
        meter.delta(usage_of(output_tokens=6))
        getattr(meter, end)()
        before, progress = meter.close(), meter.progress
        calls = {"start": (usage_of(input_tokens=900),), "delta": (usage_of(output_tokens=900),), "delivered": (900,)}
        for name in noise:
            getattr(meter, name)(*calls.get(name, ()))
        assert meter.close() == before
        assert meter.progress is progress


def test_a_failed_start_used_nothing() -> None:
    meter = Meter(input_guess=50)
    meter.fail()

    assert meter.progress is Progress.FAILED
    assert meter.close().basis is Basis.NOTHING


def test_a_split_is_overwritten_too_and_its_zero_is_zero() -> None:
    meter = Meter()
    meter.start(
        {"input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 7}}
    )
    meter.delta({"output_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 0}})
    meter.delta({"output_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 9}})

    assert (meter.close().usage.cache_write_5m, meter.close().usage.cache_write_1h) == (0, 9)


def test_nothing_is_delivered_backwards() -> None:
    meter = Meter()
    meter.start(usage_of(input_tokens=1))
    meter.delivered(400)
    meter.delivered(-200)

    assert meter.close().usage.output == 100


def test_only_a_whole_answer_with_both_its_counts_is_upstreams_word() -> None:
    def read(*, start: dict[str, Any], delta: dict[str, Any], whole: bool) -> Basis:
        meter = Meter()
        meter.start(start)
        meter.delta(delta)
        if whole:
            meter.stop()
        return meter.close().basis

    fresh, output = usage_of(input_tokens=5), usage_of(output_tokens=5)

    assert read(start=fresh, delta=output, whole=True) is Basis.UPSTREAM
    assert read(start=fresh, delta=output, whole=False) is Basis.COUNTED
    assert read(start=fresh, delta={}, whole=True) is Basis.COUNTED
    assert read(start={}, delta=output, whole=True) is Basis.COUNTED


def test_neither_lifetime_is_written_below_zero_by_a_split_above_its_total() -> None:
    for hours in (False, True):
        meter = Meter(unsplit_1h=hours)
        split = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 10}
        meter.start({"input_tokens": 1, "cache_creation_input_tokens": 4, "cache_creation": split})
        usage = meter.close().usage

        assert (usage.cache_write_5m, usage.cache_write_1h) == ((4, 0) if hours else (0, 4))


def test_a_usage_that_an_adapter_had_to_count_itself_is_ours_and_says_so() -> None:
    for mark, basis in ((True, Basis.COUNTED), (False, Basis.UPSTREAM), (1, Basis.UPSTREAM)):
        meter = Meter()
        meter.start({"input_tokens": 30, "output_tokens": 1})
        meter.delta({"output_tokens": 7, "estimated": mark})
        meter.stop()
        reading = meter.close()
        assert (reading.usage.output, reading.basis) == (7, basis)
