"""Two tenants share a gateway and see nothing of each other: no receipt, no call, no credit, no word.

Method: two wallets with calls of their own, a second key on one of them; every endpoint that reads, asked by each with
the other's ids, cursors and idempotency keys. What is found of the other is looked for in whole answers, as text.
"""

from collections.abc import Iterator
from typing import Any, Final

import httpx2
import msgspec
import pytest

from faregate.edge import desk, forms
from tests.gateway import ASK, MODEL, ask
from tests.strangers.house import House, clean

READS: Final = (
    "/v1/usage", "/v1/usage?limit=1000", f"/v1/usage?model={MODEL}", "/v1/usage?since=2000-01-01T00:00:00Z",
    "/v1/wallet", "/v1/models", "/v1/pricing",
)  # fmt: skip


class Tenant(msgspec.Struct, frozen=True):
    key: str
    wallet_id: str
    key_id: str
    calls: list[str]
    credits: str


@pytest.fixture(scope="module")
def tenants(house: House) -> tuple[Tenant, Tenant]:
    """Two of them, whose calls alternate, so that each one's ids lie between the other's."""
    keys = [house.key("acme", credits="70000"), house.key("zebra", credits="90000")]
    calls: list[list[str]] = [[], []]
    for _ in range(3):
        for mine, key in zip(calls, keys, strict=True):
            answer = house.do(house.gate.message(key, ASK, idempotency_key=f"call-{len(mine)}"))
            assert answer.status_code == 200
            mine.append(answer.json()["id"])
    found = [house.do(house.gate.running.gate.keys.find(key)) for key in keys]
    amounts = [get(house, key, "/v1/wallet").json()["balance"] for key in keys]
    one, two = (
        Tenant(key, known.wallet_id, known.id, mine, amount)
        for key, known, mine, amount in zip(keys, found, calls, amounts, strict=True)
        if known is not None
    )
    return one, two


def get(house: House, key: str, path: str) -> httpx2.Response:
    return house.do(house.gate.get(path, key))


def traces(tenant: Tenant) -> Iterator[str]:
    """What would give a tenant away."""
    yield from (tenant.wallet_id, tenant.key_id, *tenant.calls, tenant.credits)


def assert_apart(answer: httpx2.Response, other: Tenant) -> None:
    for trace in traces(other):
        assert trace not in answer.text, f"{trace} of the other: {answer.text[:300]}"


def test_what_one_reads_holds_nothing_of_the_other(house: House, tenants: tuple[Tenant, Tenant]) -> None:
    for me, other in (tenants, tenants[::-1]):
        for path in READS:
            answer = get(house, me.key, path)
            assert answer.status_code == 200
            assert_apart(answer, other)
        assert [call["id"] for call in get(house, me.key, "/v1/usage").json()["data"]] == me.calls[::-1]


def test_a_receipt_is_its_wallets_alone_and_another_is_as_if_it_were_not(
    house: House, tenants: tuple[Tenant, Tenant]
) -> None:
    for me, other in (tenants, tenants[::-1]):
        for call in me.calls:
            assert get(house, me.key, f"/v1/receipts/{call}").status_code == 200
        absent = clean(get(house, me.key, f"/v1/receipts/{'msg_' + '0' * 26}"), statuses=range(404, 405))
        for call in other.calls:
            there = clean(get(house, me.key, f"/v1/receipts/{call}"), statuses=range(404, 405))
            assert there["message"].replace(call, "") == absent["message"].replace("msg_" + "0" * 26, "")
        for guess in (f"{other.calls[0]}%27%20OR%201=1--", "%25", "msg_%25", "*", f"{other.wallet_id}", other.key_id,
                      f"{me.calls[0]},{other.calls[0]}", f"{other.wallet_id}%2f{other.calls[0]}"):  # fmt: skip
            clean(get(house, me.key, f"/v1/receipts/{guess}"), statuses=range(404, 405))


def test_a_cursor_or_filter_of_another_wallet_shows_no_row_of_it(house: House, tenants: tuple[Tenant, Tenant]) -> None:
    for me, other in (tenants, tenants[::-1]):
        for cursor in (*other.calls, "~", "zzz", "msg_", "%25", "'%20OR%20'1'='1", "%ff"):
            answer = get(house, me.key, f"/v1/usage?limit=1000&after_id={cursor}")
            assert_apart(answer, other)
            assert {call["wallet_id"] for call in answer.json()["data"]} <= {me.wallet_id}
        for asked in (f"wallet={other.wallet_id}", f"wallet_id={other.wallet_id}", f"key={other.key_id}",
                      f"key_id={other.key_id}", "wallet=zebra", "wallet=acme"):  # fmt: skip
            for path in ("/v1/usage", "/v1/wallet"):
                answer = get(house, me.key, f"{path}?{asked}")
                assert answer.status_code == 200, "what is not known in a query is ignored"
                assert_apart(answer, other)


def test_an_idempotency_key_is_its_wallets_own(house: House, tenants: tuple[Tenant, Tenant]) -> None:
    for me, other in (tenants, tenants[::-1]):
        again = house.do(house.gate.message(me.key, ASK, idempotency_key="call-0"))
        assert clean(again, statuses=range(409, 410))["details"]["receipt"]["id"] == me.calls[0]
        assert_apart(again, other)
    secret = house.do(house.gate.message(tenants[0].key, ask(max_tokens=7), idempotency_key="of-one-alone"))
    assert secret.status_code == 200
    same = house.do(house.gate.message(tenants[1].key, ask(max_tokens=9), idempotency_key="of-one-alone"))
    assert same.status_code == 200, "another body under the same word would be 422 if the word were shared"


def test_a_key_that_is_added_to_one_wallet_reads_that_one(house: House, tenants: tuple[Tenant, Tenant]) -> None:
    one, two = tenants
    added = house.key("acme", name="zebra")
    assert get(house, added, f"/v1/receipts/{one.calls[0]}").status_code == 200
    assert get(house, added, "/v1/usage").json()["data"] == []
    for path in READS:
        assert_apart(get(house, added, path), two)
    clean(get(house, added, f"/v1/receipts/{two.calls[0]}"), statuses=range(404, 405))


def test_an_error_that_one_meets_tells_nothing_of_the_other(house: House, tenants: tuple[Tenant, Tenant]) -> None:
    me, other = tenants
    poor = house.key("poor", credits="0.001")
    for key in (poor, me.key):
        for headers in ({}, {"x_credits_limit": "0"}, {"idempotency_key": "call-0"}):
            for body in (ask(model="zebra"), ask(max_tokens=9_000), ask(metadata={"user_id": other.wallet_id}), ASK):
                answer: Any = house.do(house.gate.message(key, body, **headers))
                assert other.wallet_id not in answer.text and other.credits not in answer.text


def test_the_warmth_of_a_prompt_is_told_to_its_wallet_alone(house: House, tenants: tuple[Tenant, Tenant]) -> None:
    """What was cached upstream for one is no discount in another's estimate: it would tell them what was asked."""
    cached = ask(system=[{"type": "text", "text": "A secret plan. " * 2_000, "cache_control": {"type": "ephemeral"}}])
    one, two = house.key("acme"), house.key("zebra")

    def quoted(key: str) -> Any:
        return house.do(house.gate.post("/v1/messages/quote", key, cached)).json()

    before = quoted(two)
    assert house.do(house.gate.message(one, cached)).status_code == 200
    assert quoted(two) == before
    assert quoted(one) != before, "it is learnt for the one who sent it"


def test_what_the_operator_lists_for_one_wallet_is_of_that_wallet(house: House, tenants: tuple[Tenant, Tenant]) -> None:
    one, two = tenants
    form = forms.UsageAsked(wallet="acme", before=two.calls[-1])
    page = house.do(desk.usage(house.gate.running.desk, desk.Asked(form=form)))
    assert {call.wallet_id for call in page.calls} <= {one.wallet_id}
    crossed = forms.UsageAsked(wallet="acme", key=two.key_id)
    assert house.do(desk.usage(house.gate.running.desk, desk.Asked(form=crossed))).calls == []
