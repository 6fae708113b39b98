"""The catalog: what ships is right and never edited, what is inconsistent is refused whole with every fault named."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import faregate
from faregate.core.catalog import CatalogError, load
from faregate.core.pricing import COLUMNS, in_force, usd_per_mtok
from tests.core.catalogs import HAIKU, OPUS, SONNET, edited, extended, model, shipped

PINNED = {
    "claude-haiku-4-5@2025-10-15": "24b3393a0b702243",
    "claude-sonnet-4-6@2026-02-17": "099af949944c4e5f",
    "claude-opus-4-7@2026-04-16": "291f98062d5c6fa0",
}
"""Shipped price versions are only ever appended: a receipt names one for ever. Add the new one's digest here."""

LATER = (
    '\nfrom = "2027-01-01"\ninput = "2"\noutput = "6"\n'
    'cache_write_5m = "2.5"\ncache_write_1h = "4"\ncache_read = "0.2"\n'
)


def faults(text: str, *more: str) -> list[str]:
    with pytest.raises(CatalogError) as refused:
        load(text, source="models.toml", more=[(f"mine{index}.toml", extra) for index, extra in enumerate(more)])
    return str(refused.value).splitlines()


def test_shipped_price_versions_are_never_edited() -> None:
    digests = {
        version.id: hashlib.sha256(msgspec.json.encode(version, order="sorted")).hexdigest()[:16]
        for version in shipped().prices()
    }
    assert digests == PINNED


@pytest.mark.parametrize(
    ("name", "window", "output", "prices"),
    [
        (HAIKU, 200_000, 8_192, "1.00 5.00 1.25 2.00 0.10"),
        (SONNET, 1_000_000, 128_000, "3.00 15.00 3.75 6.00 0.30"),
        (OPUS, 1_000_000, 128_000, "5.00 25.00 6.25 10.00 0.50"),
    ],
)
def test_the_shipped_models_have_the_limits_and_list_prices_of_the_contract(
    name: str, window: int, output: int, prices: str
) -> None:
    found = model(name)
    price = in_force(found.prices, 1_800_000_000_000)

    assert (found.context_window, found.max_output) == (window, output)
    assert price is not None
    assert " ".join(usd_per_mtok(getattr(price, column)) for column in COLUMNS) == prices


def test_a_model_is_found_by_its_id_and_by_its_dated_alias_and_by_nothing_else() -> None:
    catalog = shipped()

    assert catalog.find("claude-haiku-4-5-20251001") is catalog.find(HAIKU)
    for name in ("", "claude", "Claude-Haiku-4-5", "claude-haiku-4-5 ", "claude-haiku-4-5@2025-10-15"):
        assert catalog.find(name) is None
    assert [found.id for found in catalog.models()] == [HAIKU, SONNET, OPUS]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "context_window = 200_000",
            "context_window = 0",
            "models.toml: claude-haiku-4-5: context_window: Expected `int` >= 1",
        ),
        ("max_output = 8_192", "max_output = -1", "models.toml: claude-haiku-4-5: max_output: Expected `int` >= 1"),
        (
            "max_output = 8_192",
            "max_output = 200_001",
            "claude-haiku-4-5: max_output: 200001 is more than the context window",
        ),
        ("max_output = 8_192", "", "models.toml: claude-haiku-4-5: max_output: is missing"),
        ("max_output = 8_192", 'max_output = "many"', "max_output: Expected `int`, got `str`"),
        ('lifecycle = "active"', 'lifecycle = "asleep"', "lifecycle: Invalid enum value 'asleep'"),
        ('lifecycle = "active"', 'lifecycle = "retired"', "deprecated_at: is missing, and the model is retired"),
        ('created_at = "2025-10-15T00:00:00Z"', 'created_at = "autumn"', "created_at: 'autumn' is not a time"),
        ('aliases = ["claude-haiku-4-5-20251001"]', f'aliases = ["{OPUS}"]', f"aliases: '{OPUS}' already names {OPUS}"),
        (
            'aliases = ["claude-haiku-4-5-20251001"]',
            'aliases = ["a", "a"]',
            "aliases: 'a' already names claude-haiku-4-5",
        ),
        (
            'aliases = ["claude-haiku-4-5-20251001"]',
            'aliases = ["A b"]',
            "aliases: 'A b' is not a name: lower-case letters",
        ),
        ("tool = 32", "tool = -1", "overhead: Expected `int` >= 0 - at `$.tool`"),
        ("vision = true", "visionn = true", "capabilities: Object contains unknown field `visionn`"),
        ("maximum = 1,", "maximum = -1,", "parameters.temperature: minimum 0 is more than maximum -1"),
        (
            'stream = { type = "boolean"',
            'stream = { rule = "unsupported"',
            "parameters.stream: is needed for every call",
        ),
        (
            'tools = { type = "array"',
            "tools = { minimum = 1",
            "parameters.tools: has a minimum or maximum and is not a number",
        ),
        (
            'values = ["enabled", "disabled"]',
            'values = ["hard"]',
            "parameters.thinking.type: 'hard' is not a value of thinking",
        ),
        ('values = ["enabled", "disabled"], ', "", "parameters.thinking.type: has advisory_values but no values"),
        ("temperature = { values = [1] }", 'temperature = { values = ["1"] }', "'1' is not a value of temperature"),
        ("top_p = {", "top_q = {", "parameters.top_q: not a parameter of the Messages API; did you mean 'top_p'?"),
        ("top_p = {", "top_q = {", "parameters.top_p: has no shared rule in [parameters]"),
        ('cache_read = "0.10"', 'cache_read = "0.1001"', "prices[0]: cache_read '0.1001' is not a price"),
        ('cache_write_5m = "1.25"', 'cache_write_5m = "0.25"', "prices[0]: cache_write_5m 0.25 is below input 1.00"),
        (
            "[[models.claude-haiku-4-5.prices]]",
            "[models.claude-haiku-4-5.price]",
            "prices: is missing: without a price",
        ),
        (
            "[models.claude-haiku-4-5]",
            '[models."Claude!"]\n[models.claude-haiku-4-5]',
            "models.toml: Claude!: not a name",
        ),
        ("\n[parameters]\n", "\n[settings]\n", "models.toml: settings: not a key of a catalog"),
        ("\n[parameters]\n", "\n[parameters\n", "models.toml: not valid TOML: "),
    ],
)
def test_an_inconsistent_catalog_is_refused_with_the_place_and_a_sentence(old: str, new: str, fault: str) -> None:
    assert any(fault in line for line in faults(edited(old, new)))


def test_every_fault_is_named_at_once() -> None:
    text = edited("max_output = 8_192", "max_output = 0").replace('cache_read = "0.30"', 'cache_read = "free"')
    found = faults(text)

    assert len(found) == 2
    assert any(line.startswith("models.toml: claude-haiku-4-5: max_output: Expected") for line in found)
    assert any(line.startswith("models.toml: claude-sonnet-4-6: prices[0]: cache_read 'free'") for line in found)


def test_a_name_that_is_taken_is_told_beside_other_faults() -> None:
    text = edited('aliases = ["claude-haiku-4-5-20251001"]', f'aliases = ["{OPUS}", 3]')
    assert len(faults(text)) == 2


def test_an_empty_catalog_is_refused() -> None:
    assert faults("[parameters]\n") == ["models.toml: models: a catalog without a model serves nobody"]


def test_an_operators_file_adds_aliases_parameters_and_later_prices() -> None:
    catalog = extended(
        f'[models.{HAIKU}]\naliases = ["fast"]\n'
        f'[models.{HAIKU}.parameters]\n"output_config.effort" = {{ rule = "unsupported" }}\n'
        f"[[models.{HAIKU}.prices]]{LATER}"
    )
    found = catalog.find("fast")

    assert found is not None and found.id == HAIKU
    assert found.aliases == ("claude-haiku-4-5-20251001", "fast")
    assert found.parameters["output_config.effort"].rule == "unsupported"
    assert found.parameters["output_config.effort"].en, "the words for the page stay"
    assert [version.id for version in found.prices] == [f"{HAIKU}@2025-10-15", f"{HAIKU}@2027-01-01"]
    assert shipped().find("fast") is None


def test_an_operators_file_adds_a_model() -> None:
    catalog = extended(
        '[models.mine]\ndisplay_name = "Mine"\ncreated_at = "2026-01-01T00:00:00Z"\nlifecycle = "active"\n'
        "context_window = 1000\nmax_output = 100\nimage_tokens_max = 1\ndocument_tokens_max = 1\n"
        "overhead = { base = 0, message = 0, tools = 0, tool = 0, typed_tool = 0 }\n"
        "capabilities = { tools = false, vision = false, pdf = false, prompt_caching = false, streaming = true, "
        f"citations = false, structured_outputs = false }}\n[[models.mine.prices]]{LATER}"
    )
    found = catalog.find("mine")

    assert found is not None and not found.capabilities.tools
    assert found.parameters["temperature"].maximum == 1, "the shared rules hold for it"


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (
            f"[models.{HAIKU}]\nmax_output = 64000\n",
            "max_output: a model of an earlier file takes only aliases, parameters",
        ),
        (
            f"[[models.{HAIKU}.prices]]{LATER.replace('2027-01-01', '2025-10-15')}",
            "claude-haiku-4-5@2025-10-15 exists: a price version is never edited, append a later one",
        ),
        (f'[models.{HAIKU}]\naliases = "fast"\n', "aliases: should be an array of strings"),
        (
            f'[models.{HAIKU}]\naliases = ["{SONNET}"]\n',
            f"mine0.toml: {HAIKU}: aliases: '{SONNET}' already names {SONNET}",
        ),
        (f"[models.{HAIKU}]\nparameters = 3\n", "parameters: should be a table"),
        (
            f'[models.{HAIKU}.parameters]\nspeed = {{ rule = "perhaps" }}\n',
            "mine0.toml: claude-haiku-4-5: parameters.speed: Invalid enum value 'perhaps'",
        ),
        (f"[models.{HAIKU}.parameters]\nspeed = 3\n", "parameters.speed: should be a table"),
        (
            f'[models.{HAIKU}.parameters]\nthread = {{ rule = "supported" }}\n',
            "parameters.thread: cannot be supported: what it costs has no bound here",
        ),
        ("models = 3\n", "mine0.toml: models: should be a table"),
        ("[models]\nmine = 3\n", "mine0.toml: mine: should be a table"),
        ("[parameters]\nstream = {}\n", "mine0.toml: parameters: not a key of a catalog"),
        ("???", "mine0.toml: not valid TOML"),
    ],
)
def test_an_operators_file_that_goes_too_far_is_refused(more: str, fault: str) -> None:
    found = faults(edited("", ""), more)
    assert any(fault in line for line in found), found


def test_routes_add_aliases() -> None:
    catalog = shipped().with_aliases({HAIKU: ["fast", "fast", "claude-haiku-4-5-20251001"]}, source="faregate.toml")

    assert catalog.find("fast") is not None
    assert catalog.find("fast").aliases == ("claude-haiku-4-5-20251001", "fast")  # type: ignore[union-attr]
    assert catalog.prices() == shipped().prices()
    for aliases, fault in (
        ({"gpt": ["x"]}, "faregate.toml: gpt: no such model; there are claude-haiku-4-5, "),
        ({HAIKU: [SONNET]}, f"'{SONNET}' already names {SONNET}"),
        ({HAIKU: ["x"], OPUS: ["x"]}, f"'x' already names {HAIKU}"),
        ({HAIKU: ["not a name"]}, "'not a name' is not a name"),
    ):
        with pytest.raises(CatalogError, match=fault):
            shipped().with_aliases(aliases, source="faregate.toml")


def code_strings(tree: ast.Module) -> Iterator[str]:
    """The strings that the code uses; a docstring may give an example."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    words = {
        id(line.value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for line in node.body
        if isinstance(line, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
            yield node.value


def test_no_model_is_named_anywhere_but_in_the_catalog() -> None:
    for path in Path(faregate.__file__).parent.rglob("*.py"):
        for text in code_strings(ast.parse(path.read_text("utf-8"))):
            named = [found.id for found in shipped().models() if found.id in text]
            assert not named, f"{path} names {named[0]}: what the code knows of a model it must ask the catalog for"


def test_an_operators_file_says_whether_a_models_upstream_runs_to_completion() -> None:
    more = f"[models.{HAIKU}]\nruns_to_completion = true\n"

    assert [found.runs_to_completion for found in shipped().models()] == [False, False, False]
    assert [found.runs_to_completion for found in extended(more).models()] == [True, False, False]
    assert faults(edited("context_window", "runs_to_completion = 1\ncontext_window")) == [
        f"models.toml: {HAIKU}: runs_to_completion: Expected `bool`, got `int`"
    ]
    assert faults(edited("x", "x"), more.replace("true", '"yes"')) == [
        f"mine0.toml: {HAIKU}: runs_to_completion: should be true or false"
    ]
