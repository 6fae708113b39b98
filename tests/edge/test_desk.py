"""What the operator does with wallets, keys and prices: conversations with the admin API over a real store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faregate.core.access import well_formed
from faregate.core.errors import InvalidRequest
from faregate.core.ledger import OPERATOR_ACCOUNTS, Basis, Outcome, Reserve, Settle
from faregate.core.money import Nanos
from faregate.wire.usage import Usage
from tests.edge.office import Admin, admin

HAIKU = "claude-haiku-4-5"
PRICES = {"input": "2.00", "output": "6.00", "cache_write_5m": "2.50", "cache_write_1h": "4.00", "cache_read": "0.2"}


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin(tmp_path) as opened:
        yield opened


async def call(at: Admin, wallet_id: str, key_id: str, *, tokens: int, model: str = HAIKU) -> str:
    """One settled call of so many input tokens."""
    now = at.clock()
    charge_id = f"msg_{now:026d}"
    version = at.store.prices.price(model, now)
    assert version is not None
    cost = version.cost(Usage(input=tokens))
    await at.store.ledger.reserve(
        Reserve(
            charge_id=charge_id,
            wallet_id=wallet_id,
            key_id=key_id,
            request_id="req_1",
            model=model,
            price_id=version.id,
            body_sha256=b"0" * 32,
            idempotency_key=None,
            input_ceiling=cost,
            output_price=Nanos(0),
            max_tokens=1,
            min_tokens=1,
            estimated=cost,
            at_ms=now,
        )
    )
    await at.store.ledger.settle(
        Settle(
            charge_id=charge_id,
            wallet_id=wallet_id,
            key_id=key_id,
            outcome=Outcome.OK,
            usage=Usage(input=tokens),
            basis=Basis.UPSTREAM,
            charged=cost,
            shortfall=Nanos(0),
            at_ms=now,
        )
    )
    return charge_id


async def wallet_with_key(at: Admin, name: str, **limits: Any) -> tuple[str, str]:
    wallet = await at.post("/wallets", name=name)
    await at.post(f"/wallets/{name}/topups", amount="1000")
    return wallet["id"], (await at.post("/keys", wallet=name, **limits))["id"]


async def test_a_new_wallet_is_empty_and_has_an_id_of_its_own(at: Admin) -> None:
    wallet = await at.post("/wallets", name="demo", floor="-2.5")

    assert (wallet["name"], wallet["balance"], wallet["floor"]) == ("demo", "0", "-2.5")
    assert wallet["id"].startswith("wal_")
    assert await at.get("/wallets/demo") == await at.get(f"/wallets/{wallet['id']}") == wallet


async def test_a_name_is_taken_once(at: Admin) -> None:
    await at.post("/wallets", name="demo")

    assert (await at.refused("POST", "/wallets", json={"name": "demo"}))[0] == 409


async def test_a_wallet_that_is_not_there_is_not_found(at: Admin) -> None:
    assert (await at.refused("GET", "/wallets/none"))[:2] == (404, "not_found")
    assert (await at.refused("POST", "/wallets/none/topups", json={"amount": "1"}))[0] == 404


async def test_a_topup_is_credited_once_however_often_it_is_sent(at: Admin) -> None:
    await at.post("/wallets", name="demo")
    first = await at.post("/wallets/demo/topups", amount="12.345", note="paid", reference="invoice-1")
    again = await at.post("/wallets/demo/topups", amount="12.345", note="paid", reference="invoice-1")

    assert first == again
    assert (first["amount"], first["debit"], first["note"]) == ("12.345", "world", "paid")
    assert (await at.get("/wallets/demo"))["balance"] == "12.345"
    assert (await at.refused("POST", "/wallets/demo/topups", json={"amount": "9", "reference": "invoice-1"}))[0] == 409


async def test_two_topups_without_a_reference_are_two(at: Admin) -> None:
    await at.post("/wallets", name="demo")
    await at.post("/wallets/demo/topups", amount="1")
    await at.post("/wallets/demo/topups", amount="1")

    assert (await at.get("/wallets/demo"))["balance"] == "2"


@pytest.mark.parametrize("amount", ["0", "-1"])
async def test_a_topup_is_above_zero(at: Admin, amount: str) -> None:
    await at.post("/wallets", name="demo")

    status, _, message = await at.refused("POST", "/wallets/demo/topups", json={"amount": amount})
    assert (status, message[:7]) == (400, "amount:")


async def test_an_adjustment_corrects_both_ways_but_never_below_the_floor(at: Admin) -> None:
    await at.post("/wallets", name="demo")
    await at.post("/wallets/demo/adjustments", amount="5", note="goodwill")
    await at.post("/wallets/demo/adjustments", amount="-2", note="too much")

    assert (await at.get("/wallets/demo"))["balance"] == "3"
    below = {"amount": "-3.001", "note": "all"}
    assert (await at.refused("POST", "/wallets/demo/adjustments", json=below))[0] == 402
    nothing = {"amount": "0", "note": "nothing"}
    assert (await at.refused("POST", "/wallets/demo/adjustments", json=nothing))[0] == 400
    assert (await at.refused("POST", "/wallets/demo/adjustments", json={"amount": "1"}))[2] == "note: Field required"


async def test_transfers_are_listed_newest_first(at: Admin) -> None:
    await at.post("/wallets", name="demo")
    for amount in ("1", "2", "3"):
        await at.post("/wallets/demo/topups", amount=amount)

    listed = await at.get("/wallets/demo/transfers", limit=2)
    assert [transfer["amount"] for transfer in listed["transfers"]] == ["3", "2"]


async def test_a_key_is_shown_once_and_then_known_by_its_hash(at: Admin) -> None:
    await at.post("/wallets", name="demo")
    issued = await at.post("/keys", wallet="demo", name="ci", models=[HAIKU], quota="100", concurrency=2)

    assert well_formed(issued["key"])
    assert issued["key"].startswith(f"sk-fare-{issued['id']}_")
    shown = await at.get(f"/keys/{issued['id']}")
    assert shown == issued["details"]
    assert (shown["models"], shown["quota"], shown["concurrency"]) == ([HAIKU], "100", 2)
    assert issued["key"] not in str(await at.get("/keys"))
    found = await at.store.keys.find(issued["key"])
    assert found is not None and found.id == issued["id"]


async def test_no_two_keys_are_alike(at: Admin) -> None:
    await at.post("/wallets", name="demo")
    written = {(await at.post("/keys", wallet="demo"))["key"] for _ in range(20)}

    assert len(written) == 20


async def test_a_keys_scope_is_kept_under_the_catalogs_own_ids(at: Admin) -> None:
    await at.post("/wallets", name="demo")
    issued = await at.post("/keys", wallet="demo", models=[f"{HAIKU}-20251001"], allow_ips=["10.1.2.3/8"])

    assert issued["details"]["models"] == [HAIKU]
    assert issued["details"]["allow_ips"] == ["10.0.0.0/8"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"models": ["claude-haiku-4-6"]}, "models.0: the catalog has no model 'claude-haiku-4-6'; did you mean"),
        ({"models": [HAIKU, "zzz"]}, "models.1: the catalog has no model 'zzz'; it has claude-"),
        ({"allow_ips": ["10.0.0.0/33"]}, "allow_ips.0: '10.0.0.0/33' is not an address or a CIDR"),
        ({"deny_ips": ["::1", "me"]}, "deny_ips.1: 'me' is not an address or a CIDR"),
        ({"quota": "0"}, "quota: must be above 0; leave it out for no limit"),
        ({"spend_5h": "-1"}, "spend_5h: must be above 0"),
        ({"spend_1d": "1.0001"}, "spend_1d: '1.0001' is not an amount of credits"),
        ({"requests_per_minute": 0}, "requests_per_minute: expected int >= 1"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at: is in the past"),
        ({"quotas": "5"}, "quotas: Extra inputs are not permitted"),
    ],
)
async def test_a_limit_that_makes_no_sense_is_refused(at: Admin, limits: dict[str, Any], message: str) -> None:
    await at.post("/wallets", name="demo")

    status, _, said = await at.refused("POST", "/keys", json={"wallet": "demo", **limits})
    assert status == 400
    assert said.startswith(message)
    assert await at.get("/keys") == {"keys": []}


async def test_a_revoked_key_stays_revoked_since_the_first_time(at: Admin) -> None:
    _, key = await wallet_with_key(at, "demo")
    first = await at.post(f"/keys/{key}/revoke")
    again = await at.post(f"/keys/{key}/revoke")

    assert first["revoked_at"] is not None
    assert again == first == await at.get(f"/keys/{key}")


async def test_keys_are_listed_by_wallet(at: Admin) -> None:
    _, first = await wallet_with_key(at, "one")
    _, second = await wallet_with_key(at, "two")

    assert [key["id"] for key in (await at.get("/keys", wallet="one"))["keys"]] == [first]
    assert {key["id"] for key in (await at.get("/keys"))["keys"]} == {first, second}


async def test_a_price_is_appended_and_in_force_at_once(at: Admin) -> None:
    added = await at.post("/prices", model=HAIKU, **PRICES)

    assert added["id"].startswith(f"{HAIKU}@")
    assert (added["input"], added["cache_read"]) == ("2.00", "0.20")
    version = at.store.prices.price(HAIKU, at.clock())
    assert version is not None and version.id == added["id"]
    assert added in (await at.get("/prices"))["prices"]


async def test_a_price_for_later_waits_for_its_day(at: Admin) -> None:
    added = await at.post("/prices", model=f"{HAIKU}-20251001", valid_from="2030-01-01T00:00:00+01:00", **PRICES)

    assert (added["id"], added["valid_from"]) == (f"{HAIKU}@2029-12-31", "2029-12-31T23:00:00Z")
    version = at.store.prices.price(HAIKU, at.clock())
    assert version is not None and version.id != added["id"]


async def test_two_versions_on_one_day_have_names_of_their_own(at: Admin) -> None:
    first = await at.post("/prices", model=HAIKU, valid_from="2030-01-01T00:00:00Z", **PRICES)
    second = await at.post("/prices", model=HAIKU, valid_from="2030-01-01T12:00:00Z", **PRICES)

    assert (first["id"], second["id"]) == (f"{HAIKU}@2030-01-01", f"{HAIKU}@2030-01-01T12:00:00Z")


async def test_a_price_in_the_past_or_for_no_model_is_refused(at: Admin) -> None:
    past = {"model": HAIKU, "valid_from": "2020-01-01T00:00:00Z", **PRICES}
    assert (await at.refused("POST", "/prices", json=past))[0] == 400
    nobody = {"model": "gpt", **PRICES}
    assert (await at.refused("POST", "/prices", json=nobody))[2].startswith("model: the catalog has no model 'gpt'")
    fine = {"model": HAIKU, **PRICES, "input": "0.0001"}
    assert (await at.refused("POST", "/prices", json=fine))[2].startswith("input: '0.0001' is not a price")


async def test_usage_goes_through_all_wallets_page_by_page_newest_first(at: Admin) -> None:
    one, two = await wallet_with_key(at, "one"), await wallet_with_key(at, "two")
    made = [await call(at, *(one if number % 3 else two), tokens=number + 1) for number in range(7)]

    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    for _ in range(3):
        page = await at.get("/usage", **query)
        seen += [receipt["id"] for receipt in page["calls"]]
        query["before"] = page["next"]
    assert seen == made[::-1]
    assert query["before"] is None


async def test_usage_can_be_narrowed(at: Admin) -> None:
    one, two = await wallet_with_key(at, "one"), await wallet_with_key(at, "two")
    first = await call(at, *one, tokens=10)
    second = await call(at, *two, tokens=20)

    async def ids(**query: Any) -> list[str]:
        return [receipt["id"] for receipt in (await at.get("/usage", **query))["calls"]]

    assert await ids(wallet="one") == await ids(key=one[1]) == await ids(wallet=one[0]) == [first]
    assert await ids(wallet="one", key=two[1]) == []
    assert await ids(model=f"{HAIKU}-20251001") == [second, first]
    assert await ids(model="claude-opus-4-7") == []
    assert await ids(since="2030-01-01T00:00:00Z") == []
    assert await ids(until="2030-01-01T00:00:00Z") == [second, first]


async def test_a_receipt_shows_credits_and_the_books_stay_clean(at: Admin) -> None:
    wallet, key = await wallet_with_key(at, "demo", quota="500")
    await call(at, wallet, key, tokens=12)

    (receipt,) = (await at.get("/usage"))["calls"]
    assert (receipt["charged"], receipt["state"], receipt["outcome"]) == ("12", "settled", "ok")
    accounts = {account["id"]: account["balance"] for account in (await at.get("/accounts"))["accounts"]}
    assert list(accounts) == [str(name) for name in OPERATOR_ACCOUNTS]
    assert (accounts["revenue"], accounts["crash_loss"]) == ("12", "0")
    audit = await at.get("/audit")
    assert audit["clean"] is True and len(audit["findings"]) > 5


async def test_from_now_on_is_not_in_the_past_however_long_the_way_to_the_store(at: Admin) -> None:
    now = at.clock()
    version = at.store.prices.versions()[0]
    late = msgspec.structs.replace(version, id="late", valid_from_ms=now)
    at.clock.now_ms += 900

    assert await at.store.office.price_add(late) == late
    at.clock.now_ms += 5_000
    with pytest.raises(InvalidRequest, match="cannot begin in the past"):
        await at.store.office.price_add(msgspec.structs.replace(version, id="later", valid_from_ms=now + 1))
