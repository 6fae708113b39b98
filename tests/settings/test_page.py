"""The settings' page says what the declarations say.

Method: compare the page in the repository with one made now, and look for every key in it.
"""

from pathlib import Path

from faregate.settings.page import page
from faregate.settings.places import names_at

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_what_the_declarations_make_now() -> None:
    assert PAGE.read_text() == page(), "run `make docs`: docs/settings.md is made from settings/shape.py"


def test_every_key_has_its_line() -> None:
    text = page()
    for section in names_at(()):
        key = (section, 0) if section in ("upstreams", "routes", "costs") else (section,)
        names = names_at(key)
        assert names
        assert all(f"| `{name}` |" in text or f".{name}]" in text for name in names), section
