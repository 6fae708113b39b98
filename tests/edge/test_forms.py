"""Forms read amounts, prices and times exactly, and name the field that is wrong.

Method: properties for what is exact, one wrong thing at a time for what is refused.
"""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.errors import InvalidRequest
from faregate.core.money import NANOS_MAX, show_credits
from faregate.edge.forms import NewKey, NewWallet, UsageAsked, amount, column, milliseconds


@given(st.integers(-NANOS_MAX, NANOS_MAX))
def test_an_amount_is_read_as_it_is_shown(nanos: int) -> None:
    assert amount("amount", show_credits(nanos)) == nanos


@pytest.mark.parametrize("text", ["", "1.2345", "1e3", "NaN", "1,000", "٣", "9" * 17])
def test_what_is_no_amount_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        amount("quota", text)
    assert caught.value.message.startswith("quota: ")


def test_what_is_no_price_is_refused_by_its_field() -> None:
    assert column("input", "0.10") == 100
    with pytest.raises(InvalidRequest, match=r"^input: '0.0001' is not a price"):
        column("input", "0.0001")


@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)), st.integers(-12, 12))  # noqa: DTZ001  # zone below
def test_a_time_is_the_same_instant_in_any_zone(naive: datetime, hours: int) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(hours=hours)))

    assert milliseconds(at) == milliseconds(at.astimezone(UTC))
    assert milliseconds(at + timedelta(milliseconds=1)) == milliseconds(at) + 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"wallet":"w","quotas":"1"}', "quotas"),
        ('{"wallet":"w","concurrency":0}', "concurrency"),
        ('{"wallet":"w","concurrency":true}', "concurrency"),
        ('{"wallet":"w","expires_at":"2026-01-01T00:00:00"}', "expires_at"),
        ('{"wallet":"w","quota":5}', "quota"),
        ("{}", "wallet"),
    ],
)
def test_a_form_with_a_wrong_field_is_refused(text: str, word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.json.decode(text, type=NewKey)


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 129])
def test_a_wallet_has_a_name_that_can_stand_in_a_path(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": name}, type=NewWallet)


def test_a_page_is_bounded() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"limit": "1001"}, type=UsageAsked, strict=False)
