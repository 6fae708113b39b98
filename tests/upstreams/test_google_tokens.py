"""Tokens come by google-auth's own flow, from a file or from where Google's tools look, and end when they end.

Method: a real service account's key, made here, and a token endpoint on loopback that verifies what was signed with it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.auth.exceptions import RefreshError

from faregate.upstreams.google_tokens import GoogleTokens
from faregate.upstreams.port import CannotStart
from faregate.upstreams.script import plain
from faregate.upstreams.scripted_server import ScriptedServer
from tests.upstreams.vertex_peer import TokenEndpoint, key_file


@pytest_asyncio.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[TokenEndpoint]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    endpoint = TokenEndpoint()
    server = ScriptedServer(endpoint)
    await server.start()
    key_file(tmp_path, f"{server.base_url}/token")
    yield endpoint
    await server.stop()


async def test_a_service_accounts_key_is_a_token_for_as_long_as_google_says(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    source = GoogleTokens(str(tmp_path / "account.json"))
    assert dict(await asyncio.to_thread(source.fetch)) == {"authorization": "Bearer ya29.token-1"}
    assert not source.due(3000) and source.due(3700)
    assert dict(await asyncio.to_thread(source.fetch)) == {"authorization": "Bearer ya29.token-2"}


async def test_no_token_is_logged_however_much_is_logged(
    endpoint: TokenEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await asyncio.to_thread(GoogleTokens(str(tmp_path / "account.json")).fetch)
    assert endpoint.given and not any(record.name.startswith("google") for record in caplog.records)
    assert "ya29" not in caplog.text and "assertion" not in caplog.text


async def test_the_application_default_credentials_are_found(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    assert dict(await asyncio.to_thread(GoogleTokens(None).fetch)) == {"authorization": "Bearer ya29.token-1"}


@pytest.mark.parametrize("text", [None, "{}", "not json", '{"type": "service_account"}'])
async def test_none_at_all_is_said_with_the_way_out(endpoint: TokenEndpoint, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "bad.json").write_text(text)
    with pytest.raises(CannotStart, match="credentials_file"):
        await asyncio.to_thread(GoogleTokens(str(tmp_path / "bad.json") if text else None).fetch)


async def test_an_account_that_google_refuses_is_no_mistake_of_the_settings(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    endpoint.plays = [plain({"error": "invalid_grant", "error_description": "Invalid JWT"}, status=400)]
    with pytest.raises(RefreshError, match="invalid_grant"):
        await asyncio.to_thread(GoogleTokens(str(tmp_path / "account.json")).fetch)
