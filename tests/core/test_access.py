"""A key is known by its shape before any database is asked, and an address rule lets nobody through by accident.

Method: compose keys and damage them anywhere; hold addresses against CIDRs.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.access import (
    ALPHABET,
    ID_CHARS,
    KEY_CHARS,
    NO_ACCESS,
    PREFIX,
    SECRET_CHARS,
    Key,
    compose,
    ip_allowed,
    judge_active,
    well_formed,
)
from faregate.core.errors import Unauthenticated

IDS = st.text(alphabet=ALPHABET, min_size=ID_CHARS, max_size=ID_CHARS)
SECRETS = st.text(alphabet=ALPHABET, min_size=SECRET_CHARS, max_size=SECRET_CHARS)


def key(*, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> Key:
    return Key(id="a" * 12, wallet_id="w", name="n", allow_ips=allow, deny_ips=deny, created_at_ms=0)


@given(IDS, SECRETS)
def test_a_composed_key_is_well_formed_and_shows_its_id(key_id: str, secret: str) -> None:
    written = compose(key_id, secret)

    assert well_formed(written)
    assert written.startswith(f"{PREFIX}{key_id}_{secret}") and len(written) == KEY_CHARS


@given(IDS, SECRETS, st.integers(0, KEY_CHARS - 1), st.characters())
def test_a_key_with_one_wrong_character_is_not(key_id: str, secret: str, at: int, other: str) -> None:
    written = compose(key_id, secret)
    damaged = written[:at] + other + written[at + 1 :]

    assert well_formed(damaged) == (damaged == written)


@given(IDS, SECRETS, st.integers(0, KEY_CHARS - 1))
def test_a_key_that_lost_or_swapped_characters_is_not(key_id: str, secret: str, at: int) -> None:
    written = compose(key_id, secret)
    swapped = written[: at - 1] + written[at] + written[at - 1] + written[at + 1 :] if at else written

    assert not well_formed(written[:at] + written[at + 1 :])
    assert not well_formed(written + "0")
    assert well_formed(swapped) == (swapped == written)


@given(st.text(max_size=80))
def test_no_text_makes_it_raise(text: str) -> None:
    assert not well_formed(text)


@pytest.mark.parametrize(
    ("allow", "deny", "address", "allowed"),
    [
        ((), (), "anything at all", True),
        (("10.0.0.0/8",), (), "10.1.2.3", True),
        (("10.0.0.0/8",), (), "11.1.2.3", False),
        (("10.0.0.0/8",), ("10.1.0.0/16",), "10.1.2.3", False),
        (("10.0.0.0/8",), ("10.1.0.0/16",), "10.2.2.3", True),
        ((), ("10.0.0.0/8",), "10.1.2.3", False),
        ((), ("10.0.0.0/8",), "192.0.2.1", True),
        (("192.0.2.7",), (), "192.0.2.7", True),
        (("10.0.0.0/8",), (), "::ffff:10.1.2.3", True),
        ((), ("10.0.0.0/8",), "::ffff:10.1.2.3", False),
        (("2001:db8::/32",), (), "2001:db8::1", True),
        (("2001:db8::/32",), (), "10.1.2.3", False),
        (("10.1.2.3/8",), (), "10.200.0.1", True),
    ],
)
def test_an_address_is_let_in_by_the_rules(
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    address: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    assert ip_allowed(key(allow=allow, deny=deny), address) is allowed


@pytest.mark.parametrize("address", ["", "unknown", "10.1.2", "10.1.2.3:80", "10.1.2.3, 10.1.2.4", "[::1]"])
def test_an_address_that_is_none_is_refused_where_there_are_rules(address: str) -> None:
    assert not ip_allowed(key(allow=("0.0.0.0/0", "::/0")), address)
    assert not ip_allowed(key(deny=("203.0.113.0/24",)), address)


def test_a_key_is_active_until_the_moment_it_expires_and_never_once_it_was_revoked() -> None:
    judge_active(revoked_at_ms=None, expires_at_ms=None, now_ms=10)
    judge_active(revoked_at_ms=None, expires_at_ms=11, now_ms=10)
    for revoked, expires, code in ((None, 10, "key_expired"), (9, None, "key_revoked"), (9, 9, "key_revoked")):
        with pytest.raises(Unauthenticated) as refused:
            judge_active(revoked_at_ms=revoked, expires_at_ms=expires, now_ms=10)
        assert (refused.value.message, refused.value.code) == (NO_ACCESS, code)
