"""The endpoints of batches: whose they are, how they are listed, what they answer.

Method: a whole gateway on loopback; the official SDK where it has a verb for it.
"""

import json
from pathlib import Path

import pytest

from tests.contract.answers import refused
from tests.contract.batches import OPENING, PATH, body, ended, good, left, made, over, sdk
from tests.gateway import running


async def test_a_batch_is_its_wallets_and_for_everybody_else_there_is_none(tmp_path: Path) -> None:
    async with left(tmp_path) as gate:
        key, same, thief = await gate.key(), await gate.key(), await gate.key("other")
        batch_id = (await made(gate, key, "a"))["id"]
        path = f"{PATH}/{batch_id}"

        assert (await gate.get(path, same)).json()["id"] == batch_id
        for method, at in (
            ("GET", path), ("DELETE", path), ("POST", f"{path}/cancel"), ("GET", f"{path}/results"),
            ("GET", f"{PATH}/nonsense%00"), ("GET", f"{PATH}/msgbatch_{'0' * 26}"),
        ):  # fmt: skip
            answer = await gate.client.request(method, at, headers={"x-api-key": thief})
            refused(answer, 404, "not_found_error", "not_found")
        assert (await gate.get(PATH, thief)).json()["data"] == []
        assert (await gate.get(path, key)).json()["processing_status"] == "in_progress"
        refused(await gate.get(PATH, None), 401, "authentication_error", "invalid_api_key")


async def test_the_list_is_newest_first_page_by_page_both_ways(folder: Path) -> None:
    async with left(folder) as gate:
        key = await gate.key()
        ids = [(await made(gate, key, "a"))["id"] for _ in range(5)][::-1]
        async with sdk(gate, key) as client:
            assert [batch.id async for batch in client.messages.batches.list(limit=2)] == ids
            page = await client.messages.batches.list(limit=2, before_id=ids[4])
            assert [batch.id for batch in page.data] == ids[2:4] and page.has_more
            page = await client.messages.batches.list(limit=2, after_id=ids[2])
            assert [batch.id for batch in page.data] == ids[3:] and not page.has_more
        assert (await gate.get(f"{PATH}?after_id=x", key)).json()["data"] == [], "nothing stands behind what is none"


async def test_only_what_has_ended_is_deleted_and_then_it_is_gone_with_its_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with left(folder) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        async with sdk(gate, key) as client:
            answer = await gate.client.request("DELETE", f"{PATH}/{batch_id}", headers={"x-api-key": key})
            refused(answer, 400, "invalid_request_error", "invalid_param")
            refused(await gate.get(f"{PATH}/{batch_id}/results", key), 400, "invalid_request_error", "invalid_param")
            await client.messages.batches.cancel(batch_id)
            await ended(client, batch_id)
            deleted = await client.messages.batches.delete(batch_id)

        assert (deleted.id, deleted.type) == (batch_id, "message_batch_deleted")
        refused(await gate.get(f"{PATH}/{batch_id}", key), 404, "not_found_error", "not_found")
        await gate.running.store.batches.forget(gate.running.gate.now_ms())
        assert await gate.books() == (OPENING, 0)


async def test_results_url_names_the_gateway_as_its_caller_reaches_it(tmp_path: Path) -> None:
    async with running(tmp_path, script=good) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        await over(gate, key, batch_id)
        rest = f"{PATH}/{batch_id}/results"

        async def told(**headers: str) -> str:
            return str((await gate.get(f"{PATH}/{batch_id}", key, **headers)).json()["results_url"])

        assert await told() == gate.base_url + rest
        assert await told(host="gate.example.com", x_forwarded_proto="https") == f"https://gate.example.com{rest}"
        assert await told(host='"><x>') == rest, "a relative one, which the SDKs take"
    async with running(tmp_path, script=good, toml='[batches]\npublic_url = "https://g.example/x/"') as gate:
        assert (await gate.get(f"{PATH}/{batch_id}", key)).json()["results_url"] == f"https://g.example/x{rest}"


async def test_results_are_one_line_each_whatever_upstream_wrote(folder: Path) -> None:
    async with running(folder, script=good) as gate:
        key = await gate.key()
        made = (await gate.post(PATH, key, body("a", "b"))).json()
        async with sdk(gate, key) as client:
            await ended(client, made["id"])
        answer = await gate.get(f"{PATH}/{made['id']}/results", key, accept="application/binary")

        assert answer.status_code == 200
        assert [json.loads(line)["custom_id"] for line in answer.text.splitlines()] == ["a", "b"]
