"""The doctor asks a cloud for a count: its credentials are proved, and what is wrong is said without an account's name.

Method: the peers of the adapters' own tests, which verify signatures and tokens.
"""

import asyncio
from pathlib import Path

import pytest

from faregate.cli import clouds
from faregate.cli.refusals import Failed
from faregate.settings import Settings, load
from tests.contract.test_clouds import KINDS, Kind, _keys, clouded
from tests.upstreams import bedrock_peer

__all__ = ["_keys"]


def settings(folder: Path) -> Settings:
    environ = {"FAREGATE_HOME": str(folder / "doctor"), "UPSTREAM_KEY": "x"}
    return load(environ, folder=folder, file=folder / "faregate.toml")


async def asked(folder: Path) -> str:
    found = settings(folder)
    (cloud,) = [upstream for upstream in found.upstreams if upstream.name == "cloud"]
    return await asyncio.to_thread(clouds.ask, found, cloud)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cloud_that_takes_the_credentials_is_well(tmp_path: Path, kind: Kind) -> None:
    async with clouded(tmp_path, kind) as (gate, _):
        assert "answers, and counts" in await asked(tmp_path)
        assert not gate.upstream.log, "the others are not asked for it"


async def test_wrong_credentials_are_found_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with clouded(tmp_path, "bedrock"):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        with pytest.raises(Failed, match=r"look at the credentials, at region") as finding:
            await asked(tmp_path)

    assert "another-secret" not in str(finding.value) and bedrock_peer.ACCESS not in str(finding.value)
