"""The model reference pages, written from the catalog: `python -m faregate.edge.pages docs/models`.

The rule: `render` is pure and knows nothing that is not in the catalog, so a page that is out of date is a page that
was not generated, and a test says so.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from faregate.core.catalog import Catalog, Model
from faregate.core.model import Rule
from faregate.core.pricing import COLUMNS, usd_per_mtok
from faregate.edge.page_text import LANGUAGES, TEMPLATES, WORDS
from faregate.shipped import load_catalog

REQUIRED = ("model", "messages", "max_tokens")
ABILITIES = {"tools": "tool use", "vision": "vision", "prompt_caching": "prompt caching", "streaming": "streaming"}


def write(catalog: Catalog, folder: Path) -> list[Path]:
    """Write every page; the paths of those that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in pages(catalog):
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            changed.append(path)
    return changed


def pages(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Each page's file name and text. A model that has no words for its page has none."""
    for model in catalog.models():
        if model.prose is not None:
            for language in LANGUAGES:
                suffix = "" if language == "en" else f".{language}"
                yield f"{model.id}{suffix}.md", render(model, language)


def render(model: Model, language: str) -> str:
    """One page."""
    assert model.prose is not None
    words = WORDS[language]
    prose = model.prose.en if language == "en" else model.prose.zh
    able = model.capabilities
    abilities = [text for name, text in ABILITIES.items() if getattr(able, name)]
    return TEMPLATES[language].format(
        id=model.id,
        abilities=" · ".join([words["context"].format(window=_short(model.context_window)), *abilities]),
        prices="\n".join(_price_rows(model)),
        summary=prose.summary,
        parameters="\n".join(_parameter_rows(model, language)),
        advisory=_listed(_advisory(model), language),
        unsupported=_listed([name for name, rule in model.parameters.items() if rule.rule == "unsupported"], language),
        caching=prose.caching,
        when="\n".join(f"- {line}" for line in prose.when),
        context_window=f"{model.context_window:,}",
        max_output=model.max_output,
        image_tokens_max=f"{model.image_tokens_max:,}",
        hang_up=words["runs_to_completion" if model.runs_to_completion else "cancelled"],
        aliases=_listed(list(model.aliases), language),
        **{name: words["yes" if getattr(able, name) else "no"] for name in ABILITIES},
    )


def _price_rows(model: Model) -> Iterator[str]:
    for version in model.prices:
        columns = " | ".join(usd_per_mtok(getattr(version, column)) for column in COLUMNS)
        yield f"| `{version.id}` | {version.id.partition('@')[2]} | {columns} |"


def _parameter_rows(model: Model, language: str) -> Iterator[str]:
    words = WORDS[language]
    for name, rule in model.parameters.items():
        if rule.rule != "supported":
            continue
        needed = words["yes" if name in REQUIRED else "no"]
        default = f"`{rule.default}`" if rule.default else "—"
        kind = rule.type.replace("|", "\\|")
        yield f"| `{name}` | {kind} | {needed} | {default} | {_description(name, rule, model, language)} |"


def _description(name: str, rule: Rule, model: Model, language: str) -> str:
    words = WORDS[language]
    parts = [f"`{model.id}`" if name == "model" else rule.en if language == "en" else rule.zh]
    if name == "max_tokens":
        parts.append(words["cap"].format(maximum=model.max_output))
    if rule.values:
        parts.append(words["values"].format(values=" / ".join(f"`{value}`" for value in rule.values)))
    elif rule.minimum is not None and rule.maximum is not None:
        parts.append(words["range"].format(minimum=f"{rule.minimum:.1f}", maximum=f"{rule.maximum:.1f}"))
    return ("" if language == "zh" else " ").join(parts)


def _advisory(model: Model) -> list[str]:
    whole = [name for name, rule in model.parameters.items() if rule.rule == "advisory"]
    some = [f"{name}: {value}" for name, rule in model.parameters.items() for value in rule.advisory_values]
    return [*some, *whole]


def _listed(names: list[str], language: str) -> str:
    return WORDS[language]["comma"].join(f"`{name}`" for name in names) or WORDS[language]["nothing"]


def _short(tokens: int) -> str:
    """200000 as people say it: 200K."""
    return f"{tokens // 1_000_000}M" if tokens % 1_000_000 == 0 else f"{tokens // 1_000}K"


def main(arguments: list[str]) -> int:
    """Write the pages into the folder that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m faregate.edge.pages FOLDER\n")
        return 2
    for path in write(load_catalog(), Path(arguments[0])):
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
