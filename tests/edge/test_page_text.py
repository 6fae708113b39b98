"""The two languages of a page say the same things in the same places."""

import string

from faregate.edge.page_text import LANGUAGES, TEMPLATES, WORDS
from tests.core.catalogs import shipped


def placeholders(language: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(TEMPLATES[language]) if name]


def test_both_templates_have_the_same_placeholders_in_the_same_order() -> None:
    english, chinese = (placeholders(language) for language in LANGUAGES)
    assert english == chinese


def test_both_templates_have_the_same_tables_and_headings() -> None:
    shapes = [
        [line[:2] if line.startswith("#") else line.count("|") for line in TEMPLATES[language].splitlines()]
        for language in LANGUAGES
    ]
    assert [shape for shape in shapes[0] if shape] == [shape for shape in shapes[1] if shape]


def test_both_have_the_same_words() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()


def test_no_template_names_a_model() -> None:
    for language in LANGUAGES:
        assert not any(model.id in TEMPLATES[language] for model in shipped().models())
