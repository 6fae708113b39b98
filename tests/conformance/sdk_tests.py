"""The official SDK's own resource tests, from its source distribution, against a running gateway.

The rule: a test passes, or is refused by contract, or is wrong. Refused by contract is a 422 that names a parameter
which has no price here (CONTRACT 3), said by the gateway itself in the error that the test got; and what is not of the
Messages API (agents, files, sessions) is not run.
"""

import asyncio
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from faregate.shipped import load_catalog
from tests.conformance.ground import PYTHON
from tests.conformance.house import Bill, House

HERE: Final = Path(__file__).parent
FILES: Final = (
    "test_messages.py", "test_models.py", "messages/test_batches.py",
    "beta/test_messages.py", "beta/test_models.py", "beta/messages/test_batches.py",
)  # fmt: skip
TIMEOUT_S: Final = 600

_MADE_UP = re.compile(r"test_batches\.py::.*_(retrieve|delete|cancel|results)")


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file of tests."""

    name: str
    passed: int = 0
    refused: int = 0
    """By contract, with 422."""
    reasons: tuple[str, ...] = ()
    """What the gateway said to these, one parameter after another."""
    passed_without: int = 0
    """Of the refused: pass when the parameters that were refused are left out of what they send."""
    not_served: int = 0
    """404: the gateway has no such endpoint."""
    unknown: int = 0
    """404, as it should be: these ask for a batch by an id that they made up."""
    wrong: tuple[str, ...] = ()


def models(sdk: Path) -> set[str]:
    """The models that it and its tests know by name, but for those that are served under it anyway."""
    source = sdk / "src" / "anthropic"
    files = [*(sdk / "tests" / "api_resources").rglob("test_*.py"), source / "types" / "model.py"]
    files += [source / "resources" / "messages" / "messages.py", *source.glob("_data/deprecated_models.py")]
    names = {name for path in files for name in re.findall(r'"(claude-[a-z0-9.-]+)"', path.read_text())}
    catalog = load_catalog()
    return {name for name in names if catalog.find(name) is None}


async def run(house: House, sdk: Path, folder: Path) -> tuple[list[Suite], Bill]:
    """Run them all with one key, one file after another."""
    rider = await house.rider(f"tests-of-{sdk.name}")
    suites = [await _suite(house, sdk, name, rider.key, folder) for name in FILES if _path(sdk, name).exists()]
    return suites, await rider.bill()


def _path(sdk: Path, name: str) -> Path:
    return sdk / "tests" / "api_resources" / name


async def _suite(house: House, sdk: Path, name: str, key: str, folder: Path) -> Suite:
    """Run a file; then what was refused again, each time without one more of the parameters that were refused."""
    pytest = Pytest(house, sdk, key, folder / f"report-{name.replace('/', '-')}.jsonl")
    first = sorted_out(await pytest.run([str(_path(sdk, name).relative_to(sdk))]))
    last, reasons, dropped = first, list(first.refused.values()), list[str]()
    while more := {_parameter(reason) for reason in last.refused.values()} - set(dropped):
        dropped += sorted(more)
        last = sorted_out(await pytest.run(sorted(first.refused), drop=dropped))
        reasons += last.refused.values()
    again = (*last.wrong, *last.refused.values()) if first.refused else ()
    return Suite(
        name=name,
        passed=first.passed,
        refused=len(first.refused),
        reasons=tuple(dict.fromkeys(reasons)),
        passed_without=last.passed if first.refused else 0,
        not_served=first.not_served,
        unknown=first.unknown,
        wrong=(*first.wrong, *again),
    )


def _parameter(reason: str) -> str:
    """The parameter that a refusal names, in a batch or by itself."""
    return re.sub(r"^requests\.\d+\.params\.", "", reason).partition(":")[0].partition(".")[0]


class Pytest:
    """Their pytest, as often as it is needed."""

    def __init__(self, house: House, sdk: Path, key: str, report: Path) -> None:
        self._sdk = sdk
        self._report = report
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(report.parent),
            "PYTHONPATH": os.pathsep.join((str(sdk / "src"), str(HERE / "plugin"))),
            "TEST_API_BASE_URL": house.gate.base_url,
            "FARE_KEY": key,
            "FARE_REPORT": str(report),
        }
        alias = ("-p", "tests._alias_httpx") if (sdk / "tests" / "_alias_httpx.py").exists() else ()
        self._command = (
            str(PYTHON), "-m", "pytest", "-q", "--tb=short", "-p", "fare_plugin", "-p", "no:cacheprovider", *alias,
            "-o", "addopts=", "-o", "filterwarnings=default",
        )  # fmt: skip

    async def run(self, tests: Sequence[str], drop: Sequence[str] = ()) -> list[dict[str, Any]]:
        """What became of each test, in a line."""
        self._report.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *self._command, *tests, cwd=self._sdk, env={**self._environ, "FARE_DROP": ",".join(drop)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIMEOUT_S):
                printed, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return [{"test": tests[0], "outcome": "failed", "said": f"not done after {TIMEOUT_S} s"}]
        if not self._report.exists():
            return [{"test": tests[0], "outcome": "failed", "said": printed.decode()[-2_000:]}]
        return [json.loads(line) for line in self._report.read_text().splitlines()]


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    passed: int
    refused: dict[str, str]
    """Test and reason."""
    not_served: int
    unknown: int
    wrong: tuple[str, ...]


def sorted_out(lines: Sequence[dict[str, Any]]) -> Sorted:
    """Tell passes, refusals by contract, endpoints that are not here, and faults apart."""
    refused, wrong, not_served, unknown = dict[str, str](), list[str](), 0, 0
    for line in lines:
        if line["outcome"] != "failed":
            continue
        answer = line.get("answer")
        error = answer.get("error", {}) if isinstance(answer, dict) else {}
        if error.get("details", {}).get("error_code") == "unsupported_parameter":
            refused[line["test"]] = error["message"]
        elif error.get("message", "").startswith("There is nothing at /"):
            not_served += 1
        elif error.get("type") == "not_found_error" and _MADE_UP.search(line["test"]):
            unknown += 1
        else:
            wrong.append(f"{line['test'].rpartition('::')[2]}: {line['said'][:300]}")
    passed = sum(line["outcome"] == "passed" for line in lines)
    return Sorted(passed=passed, refused=refused, not_served=not_served, unknown=unknown, wrong=tuple(wrong))
