"""What the admin API takes: a struct for each body and query, from which the OpenAPI document is made too.

The rule: amounts are credit strings with at most three decimals and times are RFC 3339; nanodollars and milliseconds
stay inside. A form knows no unknown field, so a misspelt limit is an error and never a key without a limit.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from faregate.core.errors import InvalidRequest
from faregate.core.money import Nanos, parse_credits
from faregate.core.pricing import per_token
from faregate.core.shown import Credits, Time

_USD: Final[dict[str, Any]] = {"pattern": r"^\d{1,6}(\.\d{1,3})?$", "examples": ["1.25"]}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC) - _EPOCH
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH

# Patterns are for the document; the amounts are read by `amount` and `column`, whose errors are sentences.
Usd = Annotated[str, Meta(description="USD per million tokens, at most three decimals.", extra_json_schema=_USD)]
Text = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
"""No database but SQLite keeps a NUL in a text, so none is taken: what is written here can be moved."""
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^/\x00-\x1f\x7f]*$")]
"""Without a slash, since a wallet's name can stand in a path."""
Note = Annotated[Text, Meta(min_length=1, max_length=1000)]
Reference = Annotated[
    Text, Meta(min_length=1, max_length=200, description="The same reference again moves nothing: a retry is safe.")
]
Count = Annotated[int, Meta(ge=1, le=2**53)]
Limit = Annotated[int, Meta(ge=1, le=1000)]


class NewWallet(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    floor: Annotated[str, Meta(description="How far below zero it may go: 0, or a negative amount of credits.")] = "0"


class NewTopup(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    amount: Credits
    note: Note | None = None
    reference: Reference | None = None


class NewAdjustment(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    amount: Credits
    note: Note
    reference: Reference | None = None


class NewKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out is not limited."""

    wallet: Annotated[Text, Meta(description="The wallet it spends, by id or name.")]
    name: Name | None = None
    models: tuple[str, ...] = ()
    allow_ips: tuple[str, ...] = ()
    deny_ips: tuple[str, ...] = ()
    expires_at: Time | None = None
    quota: Credits | None = None
    spend_5h: Credits | None = None
    spend_1d: Credits | None = None
    spend_7d: Credits | None = None
    requests_per_minute: Count | None = None
    input_tokens_per_minute: Count | None = None
    output_tokens_per_minute: Count | None = None
    concurrency: Count | None = None


class NewPrice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    input: Usd
    output: Usd
    cache_write_5m: Usd
    cache_write_1h: Usd
    cache_read: Usd
    valid_from: Annotated[datetime, Meta(tz=True, description="From when it holds; now when left out.")] | None = None


class TransfersAsked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    limit: Limit = 100


class KeysAsked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    wallet: Text | None = None


class UsageAsked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    wallet: Text | None = None
    key: Text | None = None
    model: Text | None = None
    since: Time | None = None
    until: Time | None = None
    before: Annotated[Text, Meta(max_length=64, description="`next` of the page before.")] | None = None
    limit: Limit = 100


def amount(field: str, text: str) -> Nanos:
    """Read an amount, or say what is wrong with it and where."""
    try:
        return parse_credits(text)
    except ValueError as error:
        raise InvalidRequest(f"{field}: {error}") from None


def column(field: str, text: str) -> Nanos:
    """Read a price column, or say what is wrong with it and where."""
    try:
        return per_token(text)
    except ValueError as error:
        raise InvalidRequest(f"{field}: {error}") from None


def instant(field: str, at: datetime) -> int:
    """Read a time, or say what is wrong with it and where."""
    try:
        return milliseconds(at)
    except OverflowError as error:
        raise InvalidRequest(f"{field}: {error}") from None


def milliseconds(at: datetime) -> int:
    """A time as Unix milliseconds, without a float on the way. Raises OverflowError for one that has no year in UTC."""
    since = at - _EPOCH
    if not _FIRST <= since <= _LAST:
        # It would be kept, and could never be shown again: 9999-12-31T23:59:59-01:00 is in the year 10000 of UTC.
        raise OverflowError(f"{at.isoformat()} is not between the years 1 and 9999 in UTC")
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000
