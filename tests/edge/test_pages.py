"""The reference pages are generated, up to date, and have the sections of the page the project began from."""

from pathlib import Path

import msgspec
import pytest

from faregate.core.catalog import Catalog
from faregate.edge.pages import main, pages, render, write
from tests.core.catalogs import HAIKU, OPUS, SONNET, model, shipped

DOCS = Path(__file__).parents[2] / "docs" / "models"

SECTIONS = {
    "en": ["Request", "Response", "Examples", "Errors", "When to use it", "Limits"],
    "zh": ["请求", "响应", "代码示例", "错误", "何时使用", "限制"],
}


def test_the_pages_in_the_repository_are_those_of_the_catalog() -> None:
    for name, text in pages(shipped()):
        assert (DOCS / name).read_text("utf-8") == text, f"docs/models/{name} is out of date: run `make docs`"
    assert {path.name for path in DOCS.glob("*.md")} == {name for name, _ in pages(shipped())}


@pytest.mark.parametrize("name", [HAIKU, SONNET, OPUS])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_has_every_section(name: str, language: str) -> None:
    headings = [line[3:] for line in render(model(name), language).splitlines() if line.startswith("## ")]
    assert headings == SECTIONS[language]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_haiku_page_has_each_row_of_the_first_page(language: str) -> None:
    page = render(model(HAIKU), language)
    rows = {line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")}

    assert "200K context · tool use · vision · prompt caching · streaming" in page
    for field in (
        "model",
        "messages",
        "max_tokens",
        "system",
        "temperature",
        "top_p",
        "tools",
        "tool_choice",
        "stream",
    ):
        assert f"`{field}`" in rows
    for field in (
        "id",
        "content",
        "stop_reason",
        "usage.input_tokens",
        "usage.output_tokens",
        "usage.cache_read_input_tokens",
    ):
        assert f"`{field}`" in rows
    assert {"400", "401", "402", "403", "422", "429", "5xx"} <= rows
    assert "8192" in page and "0.0" in page and "1.0" in page


def test_a_page_follows_its_catalog() -> None:
    opus, haiku = render(model(OPUS), "en"), render(model(HAIKU), "en")

    assert "| `temperature` | number | no | `1.0` | Randomness. One of `1`. |" in opus
    assert "| `claude-opus-4-7@2026-04-16` | 2026-04-16 | 5.00 | 25.00 | 6.25 | 10.00 | 0.50 |" in opus
    assert "`thinking.type: adaptive`" in haiku and "`thinking.type: adaptive`" not in opus
    assert '{"role": "user", "content": "Hello"}' in haiku
    assert "{{" not in haiku and "}}" not in haiku.replace("}}]}", "").replace('"ephemeral"}}', "")


def test_writing_changes_only_what_is_out_of_date(tmp_path: Path) -> None:
    assert len(write(shipped(), tmp_path)) == 6
    assert write(shipped(), tmp_path) == []
    (tmp_path / "claude-opus-4-7.md").write_text("old")
    assert write(shipped(), tmp_path) == [tmp_path / "claude-opus-4-7.md"]


def test_the_command_writes_into_the_folder_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert "claude-haiku-4-5.zh.md" in capsys.readouterr().out
    assert main([]) == 2
    assert "usage: " in capsys.readouterr().err


def test_a_model_without_words_has_no_page() -> None:
    wordless = msgspec.structs.replace(model(OPUS), prose=None)
    assert list(pages(Catalog([wordless]))) == []


@pytest.mark.parametrize(
    ("language", "stops", "goes_on"),
    [("en", "the upstream is stopped", "the upstream runs to its end"), ("zh", "停止上游", "上游会运行到结束")],
)
def test_a_page_says_what_becomes_of_a_call_that_is_left(language: str, stops: str, goes_on: str) -> None:
    kept = msgspec.structs.replace(model(HAIKU), runs_to_completion=True)

    assert stops in render(model(HAIKU), language) and goes_on not in render(model(HAIKU), language)
    assert goes_on in render(kept, language) and stops not in render(kept, language)
