"""The doctor finds what is wrong, names the way out, and changes nothing.

Method: one illness at a time.
"""

import sys
from pathlib import Path

import psycopg
import pytest

from faregate.edge.listen import listen
from faregate.settings import Settings
from tests.cli.conftest import Ran, Run
from tests.postgres import URL


@pytest.fixture(autouse=True)
def free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAREGATE_SERVER_PORT", "0")


def findings(ran: Ran) -> dict[str, str]:
    return {check["check"]: check["finding"] for check in ran.json["checks"] if not check["ok"]}


def test_a_new_machine_is_well_and_stays_untouched(faregate: Run, folder: Path) -> None:
    ran = faregate("doctor", "--json")

    assert (ran.code, ran.json["ok"], findings(ran)) == (0, True, {})
    assert not folder.exists()


def test_a_person_reads_a_line_for_each_check(faregate: Run) -> None:
    faregate("wallet", "create", "demo", "--credits", "5")
    lines = faregate("doctor").out.splitlines()

    assert any(line.startswith("ok") and "1 wallet, and the books are clean" in line for line in lines)
    assert not any(line.startswith("FAIL") for line in lines)


def test_a_server_that_runs_is_told(faregate: Run, served: Settings) -> None:
    assert f"runs, and answers at {served.socket}" in faregate("doctor").out


def test_a_busy_port_is_found(faregate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0, setting="server") as other:
        monkeypatch.setenv("FAREGATE_SERVER_PORT", str(other.getsockname()[1]))
        ran = faregate("doctor", "--json")

    assert ran.code == 1
    assert "is in use by another process" in findings(ran)["server"]


def test_a_missing_providers_key_is_found(faregate: Run, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[[upstreams]]\nname = 'a'\nkind = 'anthropic'\napi_key_env = 'NO_SUCH_KEY'\n")
    ran = faregate("--config", "own.toml", "doctor", "--json")

    assert ran.code == 1
    assert list(findings(ran)) == ["settings"]
    assert "NO_SUCH_KEY is not set" in findings(ran)["settings"]


def test_a_clouds_library_that_is_missing_is_found(
    faregate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    (tmp_path / "own.toml").write_text("[[upstreams]]\nname = 'a'\nkind = 'bedrock'\nregion = 'us-east-1'\n")
    ran = faregate("--config", "own.toml", "doctor", "--json")

    assert ran.code == 1
    assert "pip install 'faregate[bedrock]'" in findings(ran)["settings"]


def test_a_data_folder_that_others_can_read_is_found(faregate: Run, folder: Path) -> None:
    faregate("wallet", "create", "demo")
    folder.chmod(0o755)

    ran = faregate("doctor", "--json")
    assert findings(ran)["data folder"].endswith(f"chmod 700 {folder}")


def test_a_damaged_database_is_found(faregate: Run, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "faregate.db").write_bytes(b"not a database, by any means" * 100)

    assert "is not an SQLite database" in findings(faregate("doctor", "--json"))["database"]


def test_migrate_makes_the_database_and_says_where(faregate: Run, folder: Path) -> None:
    ran = faregate("migrate", "--json")

    assert ran.json == {"database": str(folder / "faregate.db"), "up_to_date": True, "server_runs": False}
    assert (folder / "faregate.db").exists()
    assert f"{folder / 'faregate.db'} is up to date" in faregate("migrate").out


@pytest.mark.parametrize(("chosen", "told"), [("off", True), ("local", True), ("on", False), ("remote_apply", False)])
def test_a_database_that_is_set_to_acknowledge_too_early_is_told(
    faregate: Run,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
    told: bool,  # noqa: FBT001 - a parameter
) -> None:
    url = (database / URL).read_text()
    monkeypatch.setenv("FAREGATE_DATABASE_URL", url)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f'ALTER DATABASE "{owner.info.dbname}" SET synchronous_commit = {chosen}'.encode())
    ran = faregate("doctor", "--json")

    assert (ran.code, findings(ran)) == (0, {})
    assert (f"synchronous_commit = {chosen}" in ran.out) is told
