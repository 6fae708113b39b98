"""A key is found where it stands in the text, and in the declared shape.

Method: texts with the key on a known line.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.settings.places import Key, choices_at, did_you_mean, dotted, key_of, line_of, names_at, type_at

TEXT = """\
log.level = "info"

[server]
port = 1 # port = 2
"host" = "x"

[[upstreams]]
name = "a"
[[upstreams]]
name = "b"
  [upstreams.timeouts]
  idle_s = 3
[retry]
attempts_max = 1
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("log", "level"), 1),
        (("server",), 3),
        (("server", "port"), 4),
        (("server", "host"), 5),
        (("upstreams", 0), 7),
        (("upstreams", 0, "name"), 8),
        (("upstreams", 1), 9),
        (("upstreams", 1, "name"), 10),
        (("upstreams", 1, "timeouts", "idle_s"), 12),
        (("upstreams", 1, "kind"), 9),
        (("retry", "attempts_max"), 14),
        (("nowhere",), 1),
    ],
)
def test_a_key_is_found_on_its_line_or_its_tables(key: Key, line: int) -> None:
    assert line_of(TEXT, key) == line


@given(st.text(), st.lists(st.one_of(st.text(max_size=5), st.integers(0, 3)), max_size=4))
def test_any_text_and_any_key_give_a_line(text: str, key: list[str | int]) -> None:
    assert 1 <= line_of(text, tuple(key)) <= max(1, len(text.splitlines()))


def test_a_path_is_read_as_a_key() -> None:
    assert key_of(".upstreams[12].name") == ("upstreams", 12, "name")
    assert dotted(("upstreams", 12, "name")) == "upstreams.12.name"


def test_the_shape_tells_names_and_choices() -> None:
    assert "port" in names_at(("server",))
    assert "idle_s" in names_at(("upstreams", 0, "timeouts"))
    assert choices_at(("upstreams", 0, "kind")) == ["anthropic", "local", "openai", "scripted"]
    assert choices_at(("upstreams", 0, "auth")) == ["bearer", "x-api-key"]
    assert type_at(("server", "port", "deeper")) is None
    assert names_at(("nowhere",)) == []


def test_only_a_near_name_is_proposed() -> None:
    assert did_you_mean("prot", ["port", "host"]) == "; did you mean port?"
    assert did_you_mean("zzz", ["port", "host"]) == ""
