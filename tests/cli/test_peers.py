"""The doctor asks each upstream for its models, with each key, and shows no key whatever comes back.

Method: a peer on loopback, in a thread of its own, for the command line knows no event loop.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Run
from tests.upstreams.chat_peer import ChatPeer, Played, plain

MODELS = plain(json.dumps({"object": "list", "data": [{"id": "Qwen/Qwen3"}, {"id": "other"}]}).encode())
KEYS = ("sk-hunter2", "sk-hunter3")


@contextmanager
def playing(*plays: Played) -> Iterator[ChatPeer]:
    peer, ready, stop = ChatPeer(*plays), threading.Event(), threading.Event()

    async def serve() -> None:
        async with peer:
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    try:
        yield peer
    finally:
        stop.set()
        thread.join(30)


@pytest.fixture
def told(faregate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[bool, str]]:
    monkeypatch.setenv("FAREGATE_SERVER_PORT", "0")
    monkeypatch.setenv("FIRST", KEYS[0])
    monkeypatch.setenv("SECOND", KEYS[1])

    def tell(base_url: str, kind: str = "openai", more: str = "api_key_env = 'FIRST'") -> tuple[bool, str]:
        file = tmp_path / "own.toml"
        file.write_text(f"[[upstreams]]\nname = 'up'\nkind = '{kind}'\nbase_url = '{base_url}'\n{more}\n")
        ran: Ran = faregate("--config", str(file), "doctor", "--json")
        assert not any(key in ran.out + ran.err for key in KEYS)
        (found,) = [check for check in ran.json["checks"] if check["check"] == "upstream up"]
        return found["ok"], found["finding"].replace(base_url, "URL")

    return tell


Tell = Callable[..., tuple[bool, str]]


def test_an_upstream_that_answers_is_well_and_its_models_are_counted(told: Tell) -> None:
    with playing(MODELS) as peer:
        assert told(peer.base_url) == (True, "openai URL: answers, and lists 2 models")
        assert peer.log[0].path == "/v1/models"
        assert peer.log[0].headers["authorization"] == f"Bearer {KEYS[0]}"


def test_anthropics_own_protocol_is_asked_its_own_way(told: Tell) -> None:
    with playing(MODELS) as peer:
        assert told(f"{peer.base_url}/gw", "anthropic") == (True, "anthropic URL: answers, and lists 2 models")
        assert peer.log[0].path == "/gw/v1/models?limit=1000"
        assert (peer.log[0].headers["x-api-key"], peer.log[0].headers["anthropic-version"]) == (KEYS[0], "2023-06-01")


def test_each_key_is_tried_and_the_one_that_is_refused_is_told_by_its_place(told: Tell) -> None:
    both = "api_key_envs = ['FIRST', 'SECOND']"
    with playing(MODELS) as peer:
        assert told(peer.base_url, more=both) == (
            True,
            "openai URL: answers, and lists 2 models, with each of its 2 keys",
        )
        assert [asked.headers["authorization"] for asked in peer.log] == [f"Bearer {key}" for key in KEYS]
    with playing(MODELS, plain(f'{{"error": "{KEYS[1]} is revoked"}}'.encode(), 401)) as peer:
        assert told(peer.base_url, more=both) == (
            False,
            "openai URL refuses its key 2 of 2 (401): look at the variable that holds it",
        )


def test_a_server_without_a_key_is_asked_without_one(told: Tell) -> None:
    with playing(MODELS, plain(b"", 403)) as peer:
        assert told(peer.base_url, more="")[0]
        assert "authorization" not in peer.log[0].headers
        assert "refuses a call without a key (403)" in told(peer.base_url, more="")[1]


def test_a_model_that_is_mapped_to_a_name_it_does_not_list_is_told(told: Tell) -> None:
    with playing(MODELS) as peer:
        more = "models = { claude-x = 'Qwen/Qwen3', claude-y = 'Qwen/Qwen4' }"
        assert told(peer.base_url, more=more) == (
            True,
            "openai URL: answers, and lists 2 models; not among them: Qwen/Qwen4",
        )


@pytest.mark.parametrize(
    ("play", "well", "finding"),
    [
        (plain(b"", 404), True, "answers 404 where models are listed"),
        (plain(b"<html>"), True, "answers, with something other than a list"),
        (plain(b"", 429), True, "answers, but takes no more calls for now (429)"),
        (plain(b"", 500), False, "answers 500 when it is asked for its models"),
        (plain(b"", 302), False, "answers 302"),
    ],
)
def test_each_other_answer_is_told_for_what_it_is(told: Tell, play: Played, well: bool, finding: str) -> None:  # noqa: FBT001
    with playing(play) as peer:
        found = told(peer.base_url)
    assert found[0] is well and finding in found[1]


def test_one_that_cannot_be_reached_is_found(told: Tell) -> None:
    with playing(MODELS) as peer:
        gone = peer.base_url
    assert told(gone)[0] is False
    assert "cannot be reached" in told(gone)[1] and "look at base_url" in told(gone)[1]


def test_a_key_that_cannot_be_sent_is_found_and_not_shown(told: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST", f"{KEYS[0]}\nx")
    well, finding = told("http://127.0.0.1:1")
    assert not well and "header authorization: its value has a line break" in finding


def test_a_vendor_whose_key_is_not_there_is_not_asked(faregate: Run, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[[upstreams]]\nname = 'a'\nkind = 'openai'\napi_key_env = 'NO_SUCH_KEY'\n")
    ran = faregate("--config", str(tmp_path / "own.toml"), "doctor", "--json")
    assert "not asked, for its key is not in the environment" in ran.out
