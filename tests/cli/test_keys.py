"""`faregate key`, as an operator types it.

Method: commands in this process over a real database.
"""

import pytest

from faregate.core.access import well_formed
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def wallet(faregate: Run) -> None:
    faregate("wallet", "create", "demo", "--credits", "1000")


def test_a_key_is_printed_once_alone_on_standard_output(faregate: Run) -> None:
    issued = faregate("key", "create", "--wallet", "demo")

    assert issued.code == 0
    assert well_formed(issued.out.strip())
    assert "not shown again" in issued.err
    assert issued.out.strip() not in faregate("key", "list").out + faregate("key", "list", "--json").out


def test_a_key_with_every_limit_has_every_limit(faregate: Run) -> None:
    issued = faregate(
        "key", "create", "--wallet", "demo", "--name", "ci", "--model", "claude-haiku-4-5", "--model",
        "claude-opus-4-7", "--allow-ip", "10.0.0.0/8", "--allow-ip", "::1", "--deny-ip", "10.9.0.0/16", "--quota",
        "500", "--spend-5h", "5", "--spend-1d", "10", "--spend-7d", "20.5", "--requests-per-minute", "60",
        "--input-tokens-per-minute", "1000", "--output-tokens-per-minute", "2000", "--concurrency", "3",
        "--expires-in", "30d", "--json",
    )  # fmt: skip

    assert issued.code == 0
    assert well_formed(issued.json["key"])
    key = faregate("key", "show", issued.json["id"], "--json").json
    assert key.pop("expires_at") > key.pop("created_at")
    assert key == {
        "id": issued.json["id"],
        "wallet_id": key["wallet_id"],
        "name": "ci",
        "models": ["claude-haiku-4-5", "claude-opus-4-7"],
        "allow_ips": ["10.0.0.0/8", "::1/128"],
        "deny_ips": ["10.9.0.0/16"],
        "revoked_at": None,
        "quota": "500",
        "spend_5h": "5",
        "spend_1d": "10",
        "spend_7d": "20.5",
        "requests_per_minute": 60,
        "input_tokens_per_minute": 1000,
        "output_tokens_per_minute": 2000,
        "concurrency": 3,
    }


def test_a_person_reads_the_limits_that_a_key_has_and_no_others(faregate: Run) -> None:
    issued = faregate("key", "create", "--wallet", "demo", "--quota", "5000", "--json").json
    shown = faregate("key", "show", issued["id"]).out

    assert "quota    5,000\n" in shown
    assert "concurrency" not in shown and "spend" not in shown
    assert "models   all\n" in shown


def test_a_revoked_key_says_so(faregate: Run) -> None:
    issued = faregate("key", "create", "--wallet", "demo", "--json").json

    assert "active" in faregate("key", "list").out
    assert faregate("key", "revoke", issued["id"], "--json").json["revoked_at"] is not None
    assert "revoked 20" in faregate("key", "list", "--wallet", "demo").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("create",), 2, "--wallet"),
        (("create", "--wallet", "none"), 1, "faregate: "),
        (("create", "--wallet", "demo", "--concurrency", "0"), 2, "--concurrency"),
        (("create", "--wallet", "demo", "--expires-in", "soon"), 2, "'soon' is not a time span"),
        (("create", "--wallet", "demo", "--quota", "all"), 1, "quota: 'all' is not an amount of credits"),
        (("create", "--wallet", "demo", "--model", "haiku"), 1, "models.0: the catalog has no model 'haiku'"),
        (("show", "AAAAAAAAAAAA"), 1, "faregate: "),
        (("revoke", "AAAAAAAAAAAA"), 1, "faregate: "),
    ],
)
def test_what_is_wrong_is_said_and_no_key_is_made(
    faregate: Run, arguments: tuple[str, ...], code: int, words: str
) -> None:
    refused = faregate("key", *arguments)

    assert (refused.code, refused.out) == (code, "")
    assert words in refused.err
    assert faregate("key", "list", "--json").json == {"keys": []}
