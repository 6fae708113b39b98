"""The peers that come from the Python index, each in an environment of its own under .venv/peers.

One rule: a pinned version, by its name, through pip. What pip says goes to the terminal and not into the results.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.answers import MODEL
from bench.door import Door, Missing, Upstream, free_port, started

HOME: Final = Path(__file__).parents[1] / ".venv" / "peers"
ROLTER: Final = "rolter==0.1.0"
LITELLM: Final = "litellm[proxy]==1.108.7"
KEY: Final = "sk-bench-0123456789"
INSTALL_S_MAX: Final = 900
PIP: Final = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

ROLTER_TOML: Final = """\
[server]
require_auth = true
host = "127.0.0.1"
port = {port}

[[providers]]
name = "fake"
kind = "anthropic"
api_base = "{url}"
api_key_env = "UPSTREAM_KEY"
allow_custom_api_base = true
{tls}

[[routes]]
model = "{model}"
strategy = "round_robin"
[[routes.targets]]
provider = "fake"
model = "{model}"

[[virtual_keys]]
key = "{key}"
name = "bench"
models = []
"""

LITELLM_SHARE: Final = 0.02
LITELLM_CALLERS_MAX: Final = 8


def installed(pin: str) -> Path:
    """The programs of a peer's environment, which is made at the first call. Raises Missing."""
    folder = HOME / pin.replace("[proxy]", "").replace("==", "-")
    programs, stamp = folder / "bin", folder / "installed"
    if stamp.exists():
        return programs
    print(f"installing {pin} into {folder}", file=sys.stderr)
    steps = (
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)],
        [*PIP, "--python", str(programs / "python"), "install", "--quiet", pin],
    )
    for step in steps:
        try:
            subprocess.run(step, check=True, stdout=sys.stderr, timeout=INSTALL_S_MAX)
        except subprocess.CalledProcessError as error:
            raise Missing(f"pip could not install {pin}: it ended with {error.returncode}") from None
        except subprocess.TimeoutExpired:
            raise Missing(f"pip did not install {pin} within {INSTALL_S_MAX} s") from None
    stamp.touch()
    return programs


@contextlib.contextmanager
def rolter(to: Upstream, folder: Path) -> Iterator[Door]:
    """rolter's data plane, in Rust: virtual keys and routes, no wallet. Its log is at its default."""
    programs, port = installed(ROLTER), free_port()
    tls = f"ca_bundles = [{json.dumps(to.ca_file)}]" if to.ca_file else ""
    file = folder / "rolter.toml"
    file.write_text(ROLTER_TOML.format(port=port, url=to.url, tls=tls, model=MODEL, key=KEY))
    environ = {**os.environ, "UPSTREAM_KEY": "unused", "ROLTER_KEY_PEPPER": "pepper"}
    environ.pop("RUST_LOG", None)
    command = [str(programs / "rolter"), "gateway", "--config", str(file)]
    door = Door("rolter", f"http://127.0.0.1:{port}", {"x-api-key": KEY})
    with started(command, door, folder / "rolter.log", environ=environ, cwd=folder) as running:
        yield running


@contextlib.contextmanager
def litellm(to: Upstream, folder: Path) -> Iterator[Door]:
    """LiteLLM's proxy, in Python: a master key, no database, one worker. It gets few calls, by few callers."""
    programs, port = installed(LITELLM), free_port()
    parameters = {"model": f"anthropic/{MODEL}", "api_base": to.url, "api_key": "unused"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False},
    }
    file = folder / "litellm.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML.
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    environ.pop("PYTHONPATH", None)  # Ours is not its.
    if to.ca_file:
        environ["SSL_CERT_FILE"] = to.ca_file
    command = [str(programs / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    door = Door(
        "litellm",
        f"http://127.0.0.1:{port}",
        {"x-api-key": KEY},
        share=LITELLM_SHARE,
        concurrency_max=LITELLM_CALLERS_MAX,
    )
    with started(
        [*command, "--num_workers", "1"], door, folder / "litellm.log", environ=environ, cwd=folder
    ) as running:
        yield running
