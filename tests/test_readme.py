"""A stranger who types what the README says gets what it says.

Method: the blocks behind a `<!-- test: NAME -->` mark are run as they are written, against what `make run` starts, with
the offline model. Only the address, the key and the folder of the JavaScript packages are put in.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

ROOT: Final = Path(__file__).parents[1]
CLIENTS: Final = Path(__file__).with_name("clients")
PRINTED: Final = "http://127.0.0.1:8080"
KEY: Final = re.compile(r"sk-fare-[0-9A-Za-z]+_[0-9A-Za-z]+")
UNREACHED: Final = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ENOTCACHED")
"""What npm says when there is no registry to ask."""


def marked(name: str) -> str:
    """The block behind a mark."""
    found = re.search(rf"^<!-- test: {name} -->\n```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the README has no block {name}"
    return found[1]


def fenced(page: str) -> list[tuple[str, str]]:
    """Every block: its language, its text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


README: Final = (ROOT / "README.md").read_text()


class Gateway:
    """What the README's first block starts, in the home of a user of its own."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self.home = folder / ".faregate"
        self.log = folder / "log"
        # What `make` would install is what runs this test; the port is the system's choice.
        command = [*shlex.split(marked("run")), "-o", "setup", "ARGS=--port 0"]
        with self.log.open("a") as log:
            self.make = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.make.stdout is not None
        self.banner = ""
        while "Ctrl-C ends it" not in self.banner:
            line = self.make.stdout.readline()
            assert line, f"it ended with {self.make.wait(60)}: {self.log.read_text()}"
            self.banner += line
        self.url = re.findall(r"http://127\.0\.0\.1:\d+", self.banner)[0]
        self.pid = int((self.home / "faregate.db.lock").read_text())

    def end(self) -> int:
        """What Ctrl-C does to it; the exit code."""
        os.kill(self.pid, signal.SIGINT)
        code = self.make.wait(60)
        assert self.make.stdout is not None
        self.make.stdout.close()
        return code

    def run(self, *command: str, key: str, folder: Path = ROOT) -> str:
        """Type a command beside it, in another terminal; what it printed."""
        environ = {**self.environ, "FAREGATE_KEY": key}
        ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def get(self, path: str, key: str) -> Any:
        return httpx2.get(self.url + path, headers={"x-api-key": key}, trust_env=False).raise_for_status().json()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("stranger"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> str:
    (found,) = {match[0] for match in KEY.finditer(gateway.banner)}
    return found


@pytest.fixture(scope="module")
def first_ride(gateway: Gateway, key: str) -> str:
    """What curl showed, as the first call on a new gateway: its estimate has learned nothing yet."""
    return ride(gateway, key)


def ride(gateway: Gateway, key: str) -> str:
    command = marked("curl").replace(PRINTED, gateway.url).replace("sk-fare-...", key)
    assert gateway.url in command and key in command
    return gateway.run("sh", "-e", "-c", command, key="")


def test_every_marked_block_is_run_here() -> None:
    assert re.findall(r"<!-- test: (\w+) -->", README) == ["run", "curl", "python", "typescript", "operator"]


def test_make_run_prints_the_address_a_key_and_one_curl(gateway: Gateway, key: str) -> None:
    assert f"Faregate is at  {gateway.url}\n" in gateway.banner
    assert "demo: 5,000,000 credits" in gateway.banner
    assert gateway.banner.count("curl ") == 1
    assert gateway.get("/v1/wallet", key)["key"]["name"] == "demo"


def test_curl_shows_the_quote_of_the_readme_before_the_first_event(first_ride: str) -> None:
    head, _, stream = first_ride.partition("\n\n")
    shown = re.findall(r"^(x-[\w-]+): +(\S+)", README, re.MULTILINE)

    assert [name for name, _ in shown] == [
        "x-credits-max", "x-credits-estimated", "x-credits-input", "x-credits-remaining", "x-max-tokens-effective",
        "x-price-version",
    ]  # fmt: skip
    assert re.findall(r"^(x-(?!faregate)[\w-]+): (\S+)$", head, re.MULTILINE) == shown, "the README shows other figures"
    assert head.startswith("HTTP/1.1 200") and stream.startswith("event: message_start")
    assert stream.rstrip().endswith('data: {"type":"message_stop"}')


@pytest.mark.usefixtures("first_ride")
def test_the_python_block_streams_and_ends_with_the_receipt(gateway: Gateway, key: str, tmp_path: Path) -> None:
    program = tmp_path / "block.py"
    program.write_text(marked("python").replace(PRINTED, gateway.url))
    out = gateway.run(sys.executable, str(program), key=key, folder=tmp_path)

    ceiling = re.match(r"at most (\d+) credits\n", out)
    assert ceiling is not None, out
    assert 0 < charged(out) <= float(ceiling[1])
    assert str(gateway.get("/v1/usage?limit=1", key)["data"][0]["charged"]) == f"{charged(out):g}"


@pytest.mark.usefixtures("first_ride")
def test_the_typescript_block_streams_and_ends_with_the_receipt(gateway: Gateway, key: str, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(packages())
    program = tmp_path / "block.mjs"
    program.write_text(marked("typescript").replace(PRINTED, gateway.url))
    out = gateway.run("node", str(program), key=key, folder=tmp_path)

    assert str(gateway.get("/v1/usage?limit=1", key)["data"][0]["charged"]) == f"{charged(out):g}"


def charged(out: str) -> float:
    *said, last = out.rstrip("\n").splitlines()
    assert "".join(said).strip(), "nothing was streamed"
    found = re.fullmatch(r"charged ([\d.]+) credits", last)
    assert found is not None, out
    return float(found[1])


def packages() -> Path:
    """A folder outside the repository with the locked JavaScript packages, installed once for each lock file."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("this machine has no node and npm to run the TypeScript block with")
    lock = (CLIENTS / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "faregate-tests"
    folder = cache / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=cache))
        install(draft)
        try:
            draft.rename(folder)
        except OSError:  # Another run was faster, and what it installed is the same.
            shutil.rmtree(draft)
    return folder / "node_modules"


def install(folder: Path) -> None:
    for file in CLIENTS.iterdir():
        shutil.copy(file, folder)
    ended = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0"],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        shutil.rmtree(folder)
        if any(f"npm error code {word}" in ended.stderr for word in UNREACHED):
            pytest.skip("the npm registry cannot be reached, so the TypeScript block was not run")
        pytest.fail(f"npm could not install what tests/clients locks:\n{ended.stderr}")


def test_the_javascript_lock_pins_what_packages_are_and_not_where_they_come_from() -> None:
    locked = json.loads((CLIENTS / "package-lock.json").read_text())["packages"]
    wanted = json.loads((CLIENTS / "package.json").read_text())["dependencies"]

    assert locked.pop("")["dependencies"] == wanted
    assert all(re.fullmatch(r"\d[\w.-]*", version) for version in wanted.values()), "one version, no range"
    assert len(locked) > 3
    for name, package in locked.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


@pytest.mark.usefixtures("first_ride")
def test_the_operators_block_works_beside_the_running_server(gateway: Gateway) -> None:
    out = gateway.run("sh", "-e", "-c", marked("operator"), key="")
    (issued,) = set(KEY.findall(out))

    assert gateway.get("/v1/wallet", issued)["balance"] == "25000000"
    assert "x-credits-remaining: 2499" in ride(gateway, issued)
    assert out.rstrip().endswith("The books are clean.")


def test_ctrl_c_leaves_nothing_behind_and_starting_again_keeps_everything(tmp_path: Path) -> None:
    first = Gateway(tmp_path)
    (key,) = set(KEY.findall(first.banner))
    ride(first, key)
    left = first.get("/v1/wallet", key)["balance"]
    below = children(first.pid)

    assert below or not Path("/proc").exists(), "the offline model runs in a process of its own"
    assert first.end() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in below)
    assert not (first.home / "admin.sock").exists()
    line = r"^200 claude-haiku-4-5  in \d+ out \d+  [\d.]+ credits  first \d+ ms  total \d+ ms  msg_\w+$"
    assert re.search(line, first.log.read_text(), re.MULTILINE), first.log.read_text()

    second = Gateway(tmp_path)
    try:
        assert key not in second.banner
        assert f"{key.rpartition('_')[0]}_… was shown at the first start" in second.banner
        assert second.get("/v1/wallet", key)["balance"] == left
        another = re.search(r"another: (.+)$", second.banner, re.MULTILINE)
        assert another is not None
        (issued,) = set(KEY.findall(second.run("sh", "-c", another[1], key="", folder=tmp_path)))
        assert second.get("/v1/wallet", issued)["balance"] == left
    finally:
        second.end()


def children(pid: int) -> list[int]:
    """Processes whose parent it is; none where the system has no /proc."""
    stats = [file.read_text() for file in Path("/proc").glob("[0-9]*/stat")]
    return [int(stat.split()[0]) for stat in stats if int(stat.rpartition(")")[2].split()[1]) == pid]


def test_the_chinese_readme_has_the_same_blocks_in_the_same_order() -> None:
    chinese = fenced((ROOT / "README.zh.md").read_text())

    assert [block for block in chinese if block[0]] == [block for block in fenced(README) if block[0]]
    # Figures without a language are told in words: those are translated, the figures are not.
    figures = [re.findall(r"^(\S+: +\S+)", text, re.MULTILINE) for page in (fenced(README), chinese)
               for language, text in page if not language]  # fmt: skip
    assert figures[0] == figures[1] and len(figures) == 2 and figures[0]
