"""The rules of the house that no linter knows, each with its reason.

Method: read every source file as text and as a syntax tree. Import rules are import-linter's (pyproject.toml).
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "faregate"

SOURCES = sorted(PACKAGE.rglob("*.py"))
EVERYTHING = sorted(path for folder in ("src", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))

LINES_MAX = 300
FUNCTION_LINES_MAX = 70

MONEY = [PACKAGE / "core" / f"{name}.py" for name in ("money", "pricing", "ledger", "quote")]
MONEY += sorted(path for path in (PACKAGE / "store").rglob("*.py") if path.name != "committer.py")
"""The committer carries commands without reading an amount in them, and its waits are seconds."""

UNMIRRORED = {
    "__init__.py": "it only names what a package is",
    "__main__.py": "it is one call, and tests/test_cli.py makes it",
    "port.py": "it declares protocols; what carries them out is tested",
}


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """String constants that the program uses; what only documents is left out."""
    module = tree(path)
    documents = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", EVERYTHING, ids=label)
def test_a_file_fits_in_a_head(path: Path) -> None:
    lines = len(path.read_text().splitlines())

    assert lines <= LINES_MAX, f"{label(path)} has {lines} lines; split it where a name appears ({LINES_MAX} at most)"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, (
                f"{label(path)}:{node.lineno} {node.name} has {lines} lines; give a part of it a name"
            )


@pytest.mark.parametrize("path", EVERYTHING, ids=label)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{label(path)} has no docstring: say what it is for, its one rule, its shape"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_module_has_its_test(path: Path) -> None:
    if path.name in UNMIRRORED:
        return
    folder = path.relative_to(PACKAGE).parent
    mirror = ROOT / "tests" / folder / f"test_{path.stem}.py"

    assert mirror.exists(), f"{label(path)} needs {label(mirror)}: what is not tested under its own name is not found"


def seconds(module: ast.Module) -> Iterator[ast.AST]:
    """What is assigned to a constant named in seconds (`WAIT_S = 0.5`): waits are not money."""
    for node in ast.walk(module):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.endswith("_S"):
            yield from ast.walk(node)


def joins_paths(node: ast.BinOp | ast.AugAssign) -> bool:
    right = node.right if isinstance(node, ast.BinOp) else node.value
    return isinstance(right, ast.JoinedStr) or (isinstance(right, ast.Constant) and isinstance(right.value, str))


@pytest.mark.parametrize("path", MONEY, ids=label)
def test_money_never_meets_a_float(path: Path) -> None:
    reason = "money is a whole number of nanodollars, and a float loses some of them"
    module = tree(path)
    waits = set(seconds(module))
    for node in ast.walk(module):
        where = f"{label(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Constant) and node not in waits:
            assert not isinstance(node.value, float), f"{where} has a float literal: {reason}"
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            assert name not in ("float", "Decimal", "Fraction"), f"{where} says {name}: {reason}"
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div) and not joins_paths(node):
            raise AssertionError(f"{where} divides to a float: {reason}; use // and say which way it rounds")


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.relative_to(PACKAGE).parts[0] in ("wire", "core")], ids=label
)
def test_the_lower_floors_never_wait(path: Path) -> None:
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith), (
            f"{label(path)}:{node.lineno} waits: wire and core are pure, so that a simulation can own time"
        )


SQL = re.compile(r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s.+\sSET|DELETE\s+FROM|CREATE\s+TABLE|PRAGMA)\s", re.DOTALL)


@pytest.mark.parametrize("path", [p for p in SOURCES if "store" not in p.relative_to(PACKAGE).parts], ids=label)
def test_sql_is_spoken_in_the_store_alone(path: Path) -> None:
    for line, text in strings(path):
        assert not SQL.search(text), f"{label(path)}:{line} has SQL: the check must be part of the write, in store/"


def model_names() -> set[str]:
    catalog = tomllib.loads((PACKAGE / "core" / "models.toml").read_text())
    models = catalog["models"] if isinstance(catalog.get("models"), dict) else catalog
    names = {name for name in models if name.startswith("claude-")}
    return names | {alias for name in names for alias in models[name].get("aliases", ())}


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_model_is_named_in_the_catalog_alone(path: Path) -> None:
    names = model_names()
    assert len(names) >= 3
    for line, text in strings(path):
        named = [name for name in names if name in text]
        assert not named, f"{label(path)}:{line} names {named}: what is true of a model is said in core/models.toml"


@pytest.mark.parametrize("path", EVERYTHING, ids=label)
def test_nothing_is_left_for_later(path: Path) -> None:
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        assert not marks.search(line), f"{label(path)}:{number} leaves something undone: do it, or file an issue"


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=label)
def test_lock_files_name_no_index_and_pin_every_hash(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text), (
        f"{label(path)} names where packages come from: that is the business of whoever installs"
    )
    pins = re.findall(r"^([\w.\[\]-]+)==", text, re.MULTILINE)
    hashed = re.findall(r"^([\w.\[\]-]+)==[^\n]*\\\n\s+--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert pins and pins == hashed, f"{label(path)} has a package without a hash: run `make lock`"
