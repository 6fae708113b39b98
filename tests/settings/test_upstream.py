"""The settings of one upstream say what they mean by themselves: a file with one of each, read back."""

from pathlib import Path

from faregate.settings import load
from faregate.settings.upstream import Timeouts, UpstreamEntry

TEXT = """
[[upstreams]]
name = "ours"
kind = "openai"
base_url = "http://127.0.0.1:8000/v1"
connections_max = 7
[upstreams.models]
claude-haiku-4-5 = "qwen"
[upstreams.timeouts]
idle_s = 5
"""


def test_an_upstream_is_what_its_table_says_and_the_rest_has_defaults(tmp_path: Path) -> None:
    file = tmp_path / "faregate.toml"
    file.write_text(TEXT)
    (ours,) = load({"FAREGATE_HOME": str(tmp_path)}, folder=tmp_path, file=file).upstreams

    assert (ours.name, ours.kind, ours.base_url, ours.connections_max) == (
        "ours",
        "openai",
        "http://127.0.0.1:8000/v1",
        7,
    )
    assert ours.models == {"claude-haiku-4-5": "qwen"}
    assert ours.timeouts == Timeouts(idle_s=5)


def test_every_field_but_name_and_kind_has_a_default() -> None:
    entry = UpstreamEntry(name="a", kind="local")

    assert entry.connections_max == 10_000 and entry.timeouts == Timeouts()
