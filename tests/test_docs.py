"""The documents say what the code says, and lead somewhere.

Method: read the pages as text and compare them with what they are about: files, generators, the table of errors, the
exposition of the metrics, the version.
"""

import ast
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from faregate.cli.page import page as commands_page
from faregate.core import errors
from faregate.core.access import WINDOWS
from faregate.core.chat import FINISHES
from faregate.core.errors import GatewayError
from faregate.edge.pages import pages as model_pages
from faregate.settings.page import page as settings_page
from faregate.shipped import load_catalog
from faregate.telemetry import Telemetry
from faregate.wire import chat
from tests.test_telemetry import good

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)

Row = tuple[str, ...]


def rows(page: str) -> list[Row]:
    """The cells of every table's rows; a bar that is escaped divides nothing."""
    lines = [line for line in page.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as they are linked to."""
    titles = HEADING.findall(FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def constants(path: Path) -> set[str]:
    """The strings that a module uses; what only documents is left out."""
    module = ast.parse(path.read_text())
    documents = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    nodes = [node for node in ast.walk(module) if isinstance(node, ast.Constant) and id(node) not in documents]
    return {node.value for node in nodes if isinstance(node.value, str)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_something(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize(("name", "made"), [("settings.md", settings_page), ("commands.md", commands_page)])
def test_a_generated_page_is_as_it_is_generated_now(name: str, made: Callable[[], str]) -> None:
    assert (DOCS / name).read_text() == made(), f"run `make docs`: docs/{name} is out of date"


def test_the_models_pages_are_as_they_are_generated_now() -> None:
    made = dict(model_pages(load_catalog()))

    assert {path.name: path.read_text() for path in (DOCS / "models").glob("*.md")} == made, "run `make docs`"


def told_errors() -> set[tuple[str, str, str, str]]:
    """What the docstring of core/errors.py tells: class, status, type, code."""
    lines = re.findall(r"^    - (\w+) +(\d{3}) (\w+) +(.+)$", errors.__doc__ or "", re.MULTILINE)
    told = [(*head, code) for *head, codes in lines for code in codes.split(" | ")]
    windows = [(*head, window) for *head, code in told if code == "spend_*" for window in WINDOWS]
    return {(name, status, kind, code) for name, status, kind, code in told + windows if code != "spend_*"}


def leaves(kind: type[GatewayError]) -> list[type[GatewayError]]:
    below = [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
    return below if below or not hasattr(kind, "status") else [kind]


def test_the_table_of_errors_is_that_of_the_classes() -> None:
    told = told_errors()

    assert len(told) > 30
    for leaf in leaves(GatewayError):
        assert (leaf.__name__, str(leaf.status), leaf.kind, leaf.code) in told
    assert {name for name, *_ in told} == {leaf.__name__ for leaf in leaves(GatewayError)}


def test_every_error_code_that_is_told_is_used_and_every_one_that_is_used_is_told() -> None:
    sources = sorted((ROOT / "src" / "faregate").rglob("*.py"))
    told = {code for *_, code in told_errors()}
    used = set().union(*map(constants, sources))
    given = {
        argument.value.value
        for path in sources
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        for argument in call.keywords
        if argument.arg == "code" and isinstance(argument.value, ast.Constant)
    }

    assert len(given) > 10
    assert told - used == set(), "told in core/errors.py, and used nowhere"
    assert given - told == set(), "used, and not told in core/errors.py"


def test_the_page_of_errors_has_a_row_for_each_and_none_is_billed() -> None:
    found = [row for row in rows((DOCS / "errors.md").read_text()) if row[0].isdigit()]

    keys = [(status, kind.strip("`"), code.strip("`")) for status, kind, code, *_ in found]
    assert sorted(keys) == sorted((status, kind, code) for _, status, kind, code in told_errors())
    for _, _, code, when, billed, todo in found:
        assert billed == "no", code
        assert when.endswith(".") and todo.endswith("."), code


def test_the_page_of_openais_door_names_every_field_that_it_knows() -> None:
    told = (DOCS / "openai.md").read_text()

    assert [name for name in (*chat.KNOWN, *chat.REFUSED, *chat.ADVICE) if not re.search(rf"`{name}[`:.]", told)] == []
    assert f"up to {chat.STRANGERS_MAX} fields" in told
    assert [reason for reason in FINISHES if f"`{reason}`" not in told] == []


def exported() -> dict[str, tuple[str, str]]:
    """Each metric of a busy gateway: its type, and its labels as the page writes them."""
    telemetry = Telemetry()
    telemetry.finished(good())
    telemetry.committed(3, 0.001)
    text = telemetry.render().decode()
    found = {}
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        samples = re.findall(rf"^{name}(?:_bucket|_sum|_count)?(?:{{(.*?)}})? ", text, re.MULTILINE)
        labels = {label for sample in samples for label in re.findall(r'(\w+)="', sample)} - {"le"}
        assert samples, f"{name} has no sample: feed it"
        found[name] = (kind, ", ".join(f"`{label}`" for label in sorted(labels)) or "none")
    return found


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    page = rows((DOCS / "metrics.md").read_text())
    told = {row[0].strip("`"): (row[1], row[2]) for row in page if row[0].startswith("`faregate_")}

    assert told == {name: what for name, what in exported().items() if not name.endswith("_created")}


def test_a_query_asks_for_metrics_that_exist() -> None:
    parts = {f"{name}{part}" for name in exported() for part in ("", "_bucket", "_sum", "_count")}
    asked = set(re.findall(r"faregate_\w+", (DOCS / "metrics.md").read_text()))

    assert asked - parts == set()


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
