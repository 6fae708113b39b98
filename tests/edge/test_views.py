"""Views show amounts as credits and times as people write them, and never a secret.

Method: one of each by hand.
"""

from faregate.core.access import Key
from faregate.core.ledger import Wallet
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion
from faregate.edge.views import KeyView, PriceView, WalletView


def test_a_wallet_is_shown_in_credits_with_what_is_available() -> None:
    wallet = Wallet(id="w", name="n", posted=Nanos(12_500), held=Nanos(500), floor=Nanos(-1_000), created_at_ms=0)

    view = WalletView.of(wallet)
    assert (view.balance, view.held, view.available, view.floor) == ("12.5", "0.5", "12", "-1")


def test_a_key_is_shown_with_every_limit_that_it_has() -> None:
    key = Key(id="k", wallet_id="w", name="n", created_at_ms=1_000, quota=Nanos(2_000_000), concurrency=3)

    view = KeyView.of(key)
    assert (view.quota, view.concurrency, view.spend_5h, view.revoked_at) == ("2000", 3, None, None)
    assert view.created_at.isoformat() == "1970-01-01T00:00:01+00:00"
    # A limit that a key can carry and that no one can see would be a surprise at two in the morning.
    assert {name.removesuffix("_ms") for name in Key.__struct_fields__} == set(KeyView.__struct_fields__)


def test_a_price_is_printed_as_people_print_it() -> None:
    version = PriceVersion(
        id="m@d",
        model="m",
        valid_from_ms=0,
        input=Nanos(1_000),
        output=Nanos(5_000),
        cache_write_5m=Nanos(1_250),
        cache_write_1h=Nanos(2_000),
        cache_read=Nanos(100),
    )

    view = PriceView.of(version)
    assert (view.input, view.cache_write_5m, view.cache_read) == ("1.00", "1.25", "0.10")
