"""A plugin for the pytest that runs the SDK's own tests: they ride with a real key, and say what became of each.

The rule: no test is changed. Their conftest names a fixed key, and ours stands in its place; each outcome is one line
of JSON in the file that FARE_REPORT names. Only where FARE_DROP names parameters are these left out of what is sent.
"""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


def pytest_plugin_registered(plugin: Any) -> None:
    """Give their conftest our key, whichever name it has for it."""
    if getattr(plugin, "__name__", "").endswith("conftest") and hasattr(plugin, "api_key"):
        plugin.api_key = os.environ["FARE_KEY"]


def pytest_configure() -> None:
    """Leave out what FARE_DROP names, just before a request is built."""
    from anthropic import _base_client

    build: Any = _base_client.BaseClient._build_request
    dropped = os.environ["FARE_DROP"].split(",")

    def left(data: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in data.items() if name not in dropped}
        if isinstance(requests := kept.get("requests"), list):  # A batch.
            kept["requests"] = [{**one, "params": left(one["params"])} for one in requests]
        return kept

    def without(self: Any, options: Any, *args: Any, **more: Any) -> Any:
        if isinstance(options.json_data, dict):
            options.json_data = left(options.json_data)
        return build(self, options, *args, **more)

    setattr(_base_client.BaseClient, "_build_request", without)  # noqa: B010 - their type is not known here


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the gateway answered to a test that failed."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    report.user_properties.append(("answer", getattr(error, "body", None)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write what became of a test, with the words of what stopped it."""
    if report.when != "call" and report.outcome == "passed":
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    said = crash.message if crash is not None else str(report.longrepr or "")
    answer = dict(report.user_properties).get("answer")
    line = {"test": report.nodeid, "outcome": report.outcome, "said": said, "answer": answer}
    with Path(os.environ["FARE_REPORT"]).open("a") as file:
        file.write(json.dumps(line, default=str) + "\n")
