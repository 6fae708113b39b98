"""A key's limits as accounts: read in order, windows by their time, fresh ones opened with their cap."""

from faregate.store import limits
from faregate.store.limits import NEVER_MS, Limit
from tests.store.books import HOUR, KEY, NOW, WALLET
from tests.store.raw import Raw

CAPS = (900, 500, None, 700)


def test_a_window_that_nobody_opened_is_offered_whole(raw: Raw) -> None:
    limits.open_account(raw.connection, WALLET, KEY, limits.quota(KEY, 900), NOW)
    quota, five_hours, week = limits.read(raw.connection, WALLET, KEY, CAPS, NOW)

    assert quota == Limit("quota", f"{KEY}:quota", 900, 0, NEVER_MS, True)
    assert five_hours == Limit("spend_5h", f"{KEY}:spend_5h:{NOW}", 500, 0, NOW + 5 * HOUR, False)
    assert (week.name, week.ends_at_ms, week.opened) == ("spend_7d", NOW + 168 * HOUR, False)


def test_an_opened_window_holds_until_its_last_millisecond(raw: Raw) -> None:
    caps = (None, 500, None, None)
    (fresh,) = limits.read(raw.connection, WALLET, KEY, caps, NOW)
    limits.open_account(raw.connection, WALLET, KEY, fresh, NOW)

    (same,) = limits.read(raw.connection, WALLET, KEY, caps, NOW + 5 * HOUR - 1)
    assert same == Limit("spend_5h", fresh.account_id, 500, 0, fresh.ends_at_ms, True)
    (other,) = limits.read(raw.connection, WALLET, KEY, caps, NOW + 5 * HOUR)
    assert (other.opened, other.account_id) == (False, f"{KEY}:spend_5h:{NOW + 5 * HOUR}")


def test_a_cap_of_nothing_is_opened_empty(raw: Raw) -> None:
    limits.open_account(raw.connection, WALLET, KEY, limits.quota(KEY, 0), NOW)

    assert [limit.available for limit in limits.read(raw.connection, WALLET, KEY, (0, None, None, None), NOW)] == [0]
    assert raw.one("SELECT COUNT(*) FROM transfer WHERE kind = 'cap'") == 0


def test_another_keys_limits_are_not_ours(raw: Raw) -> None:
    limits.open_account(raw.connection, WALLET, "other", limits.quota("other", 7), NOW)

    assert limits.read(raw.connection, WALLET, KEY, (None, None, None, None), NOW) == []
