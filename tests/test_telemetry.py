"""The figures say what happened, exactly, and never grow without bound.

Method: feed records, scrape, and read the exposition back.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from faregate.core.ledger import Outcome
from faregate.core.money import Nanos
from faregate.proxy.record import Attempt, CallRecord
from faregate.telemetry import LABELS_MAX, Telemetry
from faregate.wire.usage import Usage

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(telemetry: Telemetry) -> Samples:
    families = text_string_to_metric_families(telemetry.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return scrape(telemetry).get((name, frozenset(labels.items())))


def good(charged: int = 46_000, held: int = 100_000) -> CallRecord:
    return CallRecord(
        request_id="req_1",
        charge_id="msg_1",
        model="claude-x",
        status=200,
        outcome=Outcome.OK,
        usage=Usage(input=12, output=34, cache_read=5, cache_write_1h=7),
        charged=Nanos(charged),
        held=Nanos(held),
        estimated=Nanos(charged),
        input_charged=Nanos(charged // 2),
        input_estimated=Nanos(charged // 2),
        upstream="main",
        attempts=(Attempt("spare", error="connect"), Attempt("main", status=200)),
        first_event_ms=12.0,
        total_ms=80.0,
        added_ms=0.4,
    )


def test_a_billed_call_is_counted_in_every_figure() -> None:
    telemetry = Telemetry()
    telemetry.finished(good())

    assert value(telemetry, "faregate_requests_total", model="claude-x", status="200", outcome="ok") == 1
    assert value(telemetry, "faregate_credits_charged_total", model="claude-x") == 46
    assert value(telemetry, "faregate_request_seconds_sum", model="claude-x") == pytest.approx(0.08)
    assert value(telemetry, "faregate_first_event_seconds_sum", model="claude-x") == pytest.approx(0.012)
    assert value(telemetry, "faregate_added_seconds_sum") == pytest.approx(0.0004)
    assert value(telemetry, "faregate_estimate_ratio_sum", model="claude-x") == 1
    assert value(telemetry, "faregate_upstream_attempts_total", upstream="main", result="ok") == 1
    assert value(telemetry, "faregate_upstream_attempts_total", upstream="spare", result="connect") == 1


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [("input", 12), ("output", 34), ("cache_read", 5), ("cache_write_5m", 0), ("cache_write_1h", 7)],
)
def test_tokens_are_counted_in_their_own_class(kind: str, tokens: int) -> None:
    telemetry = Telemetry()
    telemetry.finished(good())

    assert value(telemetry, "faregate_tokens_total", **{"model": "claude-x", "class": kind}) == tokens


@pytest.mark.parametrize(("known", "prefix"), [(True, "known"), (False, "new")])
def test_how_far_the_estimate_was_off_is_told_apart_by_whether_the_prefix_was_known(
    known: bool,  # noqa: FBT001
    prefix: str,
) -> None:
    telemetry = Telemetry()
    record = replace(good(), estimated=Nanos(43_700), input_estimated=Nanos(23_460), known_prefix=known)
    telemetry.finished(record)
    telemetry.finished(replace(record, outcome=Outcome.CLIENT_GONE))

    whole = {"model": "claude-x", "of": "charge", "prefix": prefix}
    its_input = {"model": "claude-x", "of": "input", "prefix": prefix}
    assert value(telemetry, "faregate_estimate_error_sum", **whole) == pytest.approx(0.05)
    assert value(telemetry, "faregate_estimate_error_count", **whole) == 1, "a cut call has another charge"
    assert value(telemetry, "faregate_estimate_error_sum", **its_input) == pytest.approx(0.04)
    other = {"model": "claude-x", "of": "charge", "prefix": "new" if known else "known"}
    assert value(telemetry, "faregate_estimate_error_count", **other) == 0


def test_a_refused_call_counts_as_refused_and_charges_nothing() -> None:
    telemetry = Telemetry()
    telemetry.finished(CallRecord(request_id="req_1", status=401, error_code="invalid_api_key", total_ms=0.1))

    assert value(telemetry, "faregate_requests_total", model="unknown", status="401", outcome="refused") == 1
    assert value(telemetry, "faregate_credits_charged_total", model="unknown") == 0


def test_an_unbilled_failure_adds_no_tokens() -> None:
    telemetry = Telemetry()
    record = CallRecord(
        request_id="req_1",
        model="claude-x",
        status=502,
        outcome=Outcome.UPSTREAM_ERROR,
        usage=Usage(input=9, output=9),
        held=Nanos(5),
        total_ms=1.0,
    )
    telemetry.finished(record)

    assert value(telemetry, "faregate_tokens_total", **{"model": "claude-x", "class": "input"}) == 0


@given(st.lists(st.integers(1, 10**12), max_size=8), st.data())
def test_the_gauges_are_what_is_held_by_calls_that_have_not_ended(held: list[int], data: st.DataObject) -> None:
    telemetry = Telemetry()
    for amount in held:
        telemetry.reserved(amount)
    ended = data.draw(st.integers(0, len(held)))
    for amount in held[:ended]:
        telemetry.finished(good(held=amount))

    assert value(telemetry, "faregate_holds_open") == len(held) - ended
    assert value(telemetry, "faregate_credits_held") == sum(held[ended:]) / 1_000


def test_commits_are_counted_with_their_wait() -> None:
    telemetry = Telemetry()
    telemetry.committed(32, 0.003)

    assert value(telemetry, "faregate_commit_commands_sum") == 32
    assert value(telemetry, "faregate_commit_wait_seconds_sum") == pytest.approx(0.003)
    below = {bound: value(telemetry, "faregate_commit_commands_bucket", le=bound) for bound in ("16.0", "32.0", "+Inf")}
    assert below == {"16.0": 0, "32.0": 1, "+Inf": 1}


def test_the_books_are_of_unknown_state_until_they_were_audited() -> None:
    telemetry = Telemetry()
    before = value(telemetry, "faregate_audit_findings")
    telemetry.audited(2)

    assert before is not None and math.isnan(before)
    assert value(telemetry, "faregate_audit_findings") == 2


def test_labels_stay_bounded_whatever_names_come() -> None:
    telemetry = Telemetry()
    for number in range(LABELS_MAX + 20):
        telemetry.finished(
            CallRecord(
                request_id="req_1",
                model=f"model-{number}",
                status=200,
                attempts=(Attempt(f"upstream-{number}"),),
                total_ms=1.0,
            )
        )

    text = telemetry.render().decode()
    assert text.count("faregate_request_seconds_count") == LABELS_MAX + 1
    assert text.count("faregate_upstream_attempts_total") <= LABELS_MAX + 5
    assert 'faregate_request_seconds_count{model="other"} 20.0' in text


def test_two_gateways_in_one_process_do_not_share_figures() -> None:
    first, second = Telemetry(), Telemetry()
    first.finished(good())

    assert value(second, "faregate_request_seconds_count", model="claude-x") is None
