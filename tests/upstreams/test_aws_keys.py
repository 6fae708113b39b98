"""Keys are found where AWS's tools find them, and what they sign stands up to a recomputation of our own.

Method: the published way to sign is written again in the peer; files and variables as an operator would have them.
"""

import logging
from pathlib import Path

import pytest
from botocore.credentials import ReadOnlyCredentials

from faregate.upstreams.aws_keys import AwsKeys, signed
from faregate.upstreams.port import CannotStart
from faregate.upstreams.script import Seen
from tests.upstreams.bedrock_peer import ACCESS, REGION, SECRET, wrong_signature


@pytest.fixture(autouse=True)
def _no_amazon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def request(path: str, body: bytes, *, token: str | None = None) -> Seen:
    keys = ReadOnlyCredentials(ACCESS, SECRET, token)
    headers = {"host": "vpce-1.example:8443", **dict(signed(keys, REGION, f"https://vpce-1.example:8443{path}", body))}
    return Seen(index=0, method="POST", path=path, headers=headers, body=body, at=0.0)


@pytest.mark.parametrize(
    "path",
    [
        "/model/anthropic.claude-x/invoke",
        "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke-with-response-stream",
        "/vpce/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fx/invoke",
    ],
)
@pytest.mark.parametrize("body", [b"{}", '{"text":"乗客"}'.encode(), b"x" * 100_000])
def test_a_signature_stands_up_to_a_recomputation(path: str, body: bytes) -> None:
    assert wrong_signature(request(path, body), SECRET, None) == ""


def test_a_session_token_is_sent_and_signed() -> None:
    seen = request("/model/m/invoke", b"{}", token="FwoGZXIvYXdzEJr")
    assert seen.headers["x-amz-security-token"] == "FwoGZXIvYXdzEJr"
    assert wrong_signature(seen, SECRET, "FwoGZXIvYXdzEJr") == ""


def test_nothing_that_is_signed_is_logged_however_much_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert request("/model/m/invoke", b"{}", token="FwoGZXIvYXdzEJr").headers["authorization"]
    assert caplog.text == ""


def test_the_recomputation_notices_what_was_changed() -> None:
    good = request("/model/m/invoke", b"{}")
    for changed in ({"path": "/model/n/invoke"}, {"body": b"[]"}, {"method": "PUT"}):
        whole = {"index": 0, "method": "POST", "path": good.path, "headers": good.headers, "body": b"{}", "at": 0.0}
        assert wrong_signature(Seen(**{**whole, **changed}), SECRET, None) == "the signature"  # type: ignore[arg-type]
    assert wrong_signature(good, "another", None) == "the signature"


def test_keys_come_from_the_environment_and_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    source = AwsKeys(None)
    keys = source.fetch()
    assert (keys.access_key, keys.secret_key, keys.token) == (ACCESS, SECRET, None)
    assert not source.due(1e9)


def test_keys_come_from_a_profile(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(f"[gate]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    assert AwsKeys("gate").fetch().access_key == ACCESS


def test_temporary_keys_are_due_before_they_end(tmp_path: Path) -> None:
    """A program that gives them, as single sign-on helpers do."""
    script = tmp_path / "keys.sh"
    script.write_text(
        '#!/bin/sh\nprintf \'{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "s", "SessionToken":'
        f' "t", "Expiration": "%s"}}\' "{ACCESS}" "$(date -u -d "+1 hour" +%Y-%m-%dT%H:%M:%SZ)"\n'
    )
    script.chmod(0o700)
    (tmp_path / "config").write_text(f"[profile sso]\ncredential_process = {script}\n")
    source = AwsKeys("sso")
    assert source.fetch().token == "t"
    assert not source.due(3000) and source.due(4000)


@pytest.mark.parametrize(("profile", "word"), [(None, "there are no AWS credentials"), ("nosuch", "nosuch")])
def test_none_at_all_is_said_with_the_way_out(profile: str | None, word: str) -> None:
    with pytest.raises(CannotStart, match=word) as caught:
        AwsKeys(profile).fetch()
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
