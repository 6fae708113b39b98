"""The admin API keeps to its own document, whatever is asked of it, and never answers with a fault of ours.

Method: schemathesis makes requests from the document, some that fit it and some that break it, seeded, against a
running admin door with wallets, keys, prices and calls behind it; then by hand what no generator thinks of. "Fits the
document" says nothing of whether a wallet of that name is there, so what is refused for that reason is no failure.
"""

from typing import Any, Final

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from faregate.edge.openapi import ROOT, document
from faregate.edge.verbs import VERBS, Verb
from tests.gateway import MODEL
from tests.strangers.house import ADMIN_TOKEN, House, clean

EXAMPLES: Final = 60
CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
TOKEN: Final = {"authorization": f"Bearer {ADMIN_TOKEN}"}
WALLET: Final = "main"


@pytest.fixture(scope="module")
def key_id(house: House) -> str:
    """A house with something in it: a wallet, a key, and a call that was paid for."""
    key = house.key(WALLET)
    assert house.do(house.gate.message(key)).status_code == 200
    return key.removeprefix("sk-fare-").partition("_")[0]


def known(verb: Verb, key_id: str) -> dict[str, Any]:
    """What there is, by the name of the field that can name it."""
    name = key_id if verb.path.startswith("/keys") else WALLET
    return {"name": name, "wallet": WALLET, "key": key_id, "model": MODEL}


def aim(case: Case[Any], names: dict[str, Any]) -> None:
    """Let a request mean something that is there: else all that it finds is 404."""
    if "name" in (case.path_parameters or {}):
        case.path_parameters["name"] = names["name"]
    for holder in (case.query, case.body):
        if isinstance(holder, dict):
            holder.update({field: value for field, value in names.items() if field in holder and field != "name"})


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "breaks"])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_answer_conforms_to_the_document(house: House, key_id: str, verb: Verb, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(document(VERBS))
    operation = schema[ROOT + verb.path][verb.method]
    answered: set[int] = set()

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode), aimed=st.booleans())
    def conforms(case: Case[Any], aimed: bool) -> None:  # noqa: FBT001
        if aimed and mode is GenerationMode.POSITIVE:
            aim(case, known(verb, key_id))
        answer = case.call(base_url=house.admin_url, headers=TOKEN)
        assert isinstance(answer, Response)
        case.validate_response(answer, checks=CHECKS)
        answered.add(answer.status_code)

    conforms()
    if mode is GenerationMode.POSITIVE:
        assert verb.status in answered, f"nothing that was generated was ever carried out: {answered}"


def asked(house: House, method: str, path: str, **content: Any) -> httpx2.Response:
    return httpx2.request(method, f"{house.admin_url}{ROOT}{path}", headers=TOKEN, trust_env=False, **content)


PRICE: Final = {
    "model": MODEL, "input": "1", "output": "5", "cache_write_5m": "1", "cache_write_1h": "2", "cache_read": "0.1"
}  # fmt: skip
NO_YEAR: Final = ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+23:59"]


@pytest.mark.parametrize("time", NO_YEAR)
def test_a_time_that_no_year_in_utc_has_is_refused_before_it_is_kept(house: House, key_id: str, time: str) -> None:
    answers = [
        asked(house, "POST", "/keys", json={"wallet": WALLET, "expires_at": time}),
        asked(house, "POST", "/prices", json={**PRICE, "valid_from": time}),
        asked(house, "GET", "/usage", params={"since": time}),
        asked(house, "GET", "/usage", params={"until": time}),
    ]

    assert [clean(answer)["message"].partition(":")[0] for answer in answers] == [
        "expires_at", "valid_from", "since", "until",
    ]  # fmt: skip
    assert all("between the years 1 and 9999" in answer.text for answer in answers)
    for path in ("/keys", "/prices"):
        assert asked(house, "GET", path).status_code == 200, "one bad row would break the list for good"


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59.999999Z", "9999-12-31T00:00:00+14:00"])
def test_the_last_times_there_are_can_be_kept_and_shown(house: House, key_id: str, time: str) -> None:
    made = asked(house, "POST", "/keys", json={"wallet": WALLET, "expires_at": time})

    assert made.status_code == 201
    assert any(key["id"] == made.json()["id"] for key in asked(house, "GET", "/keys").json()["keys"])


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/wallets", {"name": "a\0b"}),
        ("/wallets/main/topups", {"amount": "1", "note": "a\0b"}),
        ("/wallets/main/topups", {"amount": "1", "reference": "a\0b"}),
        ("/wallets/main/adjustments", {"amount": "1", "note": "a\0b"}),
        ("/keys", {"wallet": "main\0"}),
        ("/keys", {"wallet": "main", "name": "a\0b"}),
        ("/keys", {"wallet": "main", "models": ["a\0b"]}),
        ("/prices", {**PRICE, "model": f"{MODEL}\0"}),
    ],
)
def test_a_nul_is_kept_by_sqlite_alone_so_it_is_refused(
    house: House, key_id: str, path: str, form: dict[str, Any]
) -> None:
    rows = house.rows()

    clean(asked(house, "POST", path, json=form), statuses=range(400, 401))
    assert house.rows() == rows


@pytest.mark.parametrize("query", ["wallet", "key", "model", "before"])
def test_a_nul_in_a_query_or_path_finds_nothing_and_breaks_nothing(house: House, query: str) -> None:
    clean(asked(house, "GET", f"/usage?{query}=%00"), statuses=range(400, 401))
    for path in ("/wallets/%00", "/wallets/main%00", "/wallets/%00/transfers", "/keys/%00"):
        # No database is asked: one that takes no NUL would answer with a fault.
        assert "NUL" in clean(asked(house, "GET", path), statuses=range(404, 405))["message"]


@pytest.mark.parametrize(
    "query", ["since=5", "until=1790000000", "since=null", "limit=null", "limit=1e2", "limit=%D9%A3"]
)
def test_a_query_is_read_as_it_is_written_and_not_as_what_it_might_mean(house: House, query: str) -> None:
    clean(asked(house, "GET", f"/usage?{query}"), statuses=range(400, 401))


def test_a_wallet_that_is_called_null_is_not_every_wallet(house: House, key_id: str) -> None:
    assert asked(house, "GET", "/usage").json()["calls"] != []
    for path in ("/usage?wallet=null", "/keys?wallet=null"):
        clean(asked(house, "GET", path), statuses=range(404, 405))
    assert asked(house, "GET", "/usage?model=null").json()["calls"] == []


HARD_BODIES: Final = {
    "nothing": b"", "a nul": b"\0", "not utf-8": b'{"name":"\xff"}', "a lone surrogate": b'{"name":"\\ud800"}',
    "a byte order mark": b'\xef\xbb\xbf{"name":"a"}', "NaN": b'{"name":NaN}', "an array": b"[]",
    "deep arrays": b"[" * 60_000, "a deep name": b'{"name":' + b"[" * 50_000, "deep objects": b'{"a":' * 10_000,
    "a long number": b"1" * 60_000, "a huge exponent": b'{"name":1e999999}', "an unknown field": b'{"name":"a","x":1}',
    "too much": b'{"name":"' + b"a" * 70_000 + b'"}', "a long name": b'{"name":"' + b"a" * 129 + b'"}',
    "an escape": b'{"name":"a\\u0000"}', "half": b'{"name":"a', "two": b'{"name":"a"}{"name":"b"}',
}  # fmt: skip


@pytest.mark.parametrize("what", HARD_BODIES)
def test_a_body_that_is_no_form_is_refused_and_leaves_nothing(house: House, what: str) -> None:
    with house.undisturbed():
        clean(asked(house, "POST", "/wallets", content=HARD_BODIES[what]))


def test_amounts_at_the_ends_of_their_range_move_exactly_or_not_at_all(house: House) -> None:
    most = "100000000000000"
    assert asked(house, "POST", "/wallets", json={"name": "ends"}).status_code == 201

    def moved(path: str, amount: str) -> int:
        form = {"amount": amount, "note": "to the end of the range"}
        return asked(house, "POST", f"/wallets/ends/{path}", json=form).status_code

    assert moved("topups", most) == 201
    assert (moved("topups", "0.001"), moved("topups", most), moved("adjustments", most)) == (400, 400, 400)
    assert moved("adjustments", f"-{most}") == 201
    for _ in range(20):  # Their sum is still one that a column bears, or the audit could not say that all is well.
        assert (moved("topups", most), moved("adjustments", f"-{most}")) == (201, 201)
    assert asked(house, "GET", "/wallets/ends").json()["balance"] == "0"
    assert asked(house, "GET", "/audit").json()["clean"] is True
