"""A batch's body is cut into its requests, and the first thing that is wrong with it is named by its place."""

import json
from typing import Any

import msgspec
import pytest

from faregate.wire import batch
from faregate.wire.batch import cut
from faregate.wire.shape import Malformed


def one(**fields: Any) -> dict[str, Any]:
    return {"custom_id": "a", "params": {"model": "m"}} | fields


def test_requests_come_in_order_with_their_params_as_they_were_written() -> None:
    body = (
        b'{ "requests": [ {"custom_id": "b-1", "params": {"x": [1,  2]}}, {"params":{"y":1.50},"custom_id":"A_2"} ] }'
    )

    assert cut(body) == [("b-1", b'{"x": [1,  2]}'), ("A_2", b'{"y":1.50}')]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[]", "The request body is not a JSON object"),
        (b"{", "The request body is not a JSON object"),
        (b'{"requests": {}}', "requests: Input should be a valid array"),
        (b"{}", "requests: Field required"),
        (b'{"requests": []}', "requests: List should have 1 to 100000 items, not 0"),
        (b'{"requests": [1]}', "requests.0: Input should be an object"),
        (json.dumps({"requests": [one()], "extra": 1}).encode(), "extra: Extra inputs are not permitted"),
        (json.dumps({"requests": [one(extra=1)]}).encode(), "requests.0.extra: Extra inputs are not permitted"),
        (json.dumps({"requests": [{"params": {}}]}).encode(), "requests.0.custom_id: Field required"),
        (json.dumps({"requests": [{"custom_id": "a"}]}).encode(), "requests.0.params: Field required"),
        (json.dumps({"requests": [one(custom_id=1)]}).encode(), "requests.0.custom_id: Input should be a valid string"),
        (json.dumps({"requests": [one(), one()]}).encode(), "requests.1.custom_id: 'a' is taken by request 0"),
        *(
            (
                json.dumps({"requests": [one(custom_id=name)]}).encode(),
                "requests.0.custom_id: String should have 1 to 64",
            )
            for name in ("", "x" * 65, "a b", "ä", "a\n")
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_place(body: bytes, says: str) -> None:
    with pytest.raises(Malformed) as refused:
        cut(body)

    assert str(refused.value).startswith(says)


def test_there_are_so_many_requests_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "REQUESTS_MAX", 2)
    requests = [one(custom_id=str(number)) for number in range(3)]
    assert len(cut(msgspec.json.encode({"requests": requests[:2]}))) == 2
    with pytest.raises(Malformed, match="1 to 2 items, not 3"):
        cut(msgspec.json.encode({"requests": requests}))


def test_depth_raises_nothing_but_malformed() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for body in (deep, b'{"requests": ' + deep + b"}", b'{"requests": [{"custom_id": ' + deep + b"}]}"):
        with pytest.raises(Malformed):
            cut(body)
