"""What a conformance run stands on: the newest SDK's source distribution, and clients in environments of their own.

The rule: everything lands in .venv/conformance, and but for the newest SDK, which is the point, it is what the lock
files say, hash by hash. Where a client cannot be had, the reason is returned and printed, and the rest goes on.

    .venv/conformance/python     requirements/conformance.txt          .venv/conformance/node    package-lock.json
    .venv/conformance/sdk        the source distributions, unpacked
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
GROUND: Final = ROOT / ".venv" / "conformance"
PYTHON: Final = GROUND / "python" / "bin" / "python"
NODE: Final = GROUND / "node"
CLAUDE: Final = NODE / "node_modules" / "@anthropic-ai" / "claude-code"
LOCK: Final = ROOT / "requirements" / "conformance.txt"
NODE_MIN: Final = 20
INSTALL_S: Final = 900


class Missing(Exception):
    """Something that cannot be had here, in a sentence."""


def python() -> None:
    """Install the Python clients. Raises Missing."""
    stamp = GROUND / "python" / ".done"
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == lock:
        return
    _run(sys.executable, "-m", "venv", "--clear", str(GROUND / "python"))
    _run(str(PYTHON), "-m", "pip", "--quiet", "install", "--require-hashes", "-r", str(LOCK))
    stamp.write_text(lock)


def node() -> None:
    """Install what runs on Node. Raises Missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Missing("Node and npm are not installed")
    version = _run("node", "--version").strip()
    if int(re.findall(r"\d+", version)[0]) < NODE_MIN:
        raise Missing(f"Node {version} is older than {NODE_MIN}")
    stamp = NODE / ".done"
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == lock:
        return
    NODE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, NODE / name)
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=NODE)
    _run("node", str(CLAUDE / "install.cjs"), cwd=CLAUDE)  # It puts the build for this machine in its place.
    stamp.write_text(lock)


def sdk(version: str = "") -> Path:
    """The SDK's source, unpacked: the newest, or a version; one that is there when the index is not. Raises Missing."""
    folder = GROUND / "sdk"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"anthropic=={version}" if version else "anthropic"
    try:
        _run(
            str(PYTHON), "-m", "pip", "--quiet", "download", "--no-binary", ":all:", "--no-deps",
            "--dest", str(folder), wanted,
        )  # fmt: skip
    except Missing:
        if not _archives(folder, version):
            raise
    archive = _archives(folder, version)[-1]
    unpacked = folder / archive.name.removesuffix(".tar.gz")
    if not unpacked.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return unpacked


def _archives(folder: Path, version: str) -> list[Path]:
    found = [path for path in folder.glob("anthropic-*.tar.gz") if version in path.name]
    return sorted(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])


def _run(*command: str, cwd: Path = ROOT) -> str:
    try:
        ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from None
    if ran.returncode:
        raise Missing(f"{' '.join(command)[:200]}: {(ran.stderr or ran.stdout).strip()[-500:]}")
    return ran.stdout
