"""The settings of one upstream say what they mean by themselves: a file with one of each, read back."""

from pathlib import Path

import pytest

from faregate.settings import SettingsError, load
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


@pytest.mark.parametrize(
    ("text", "batches"),
    [
        ("", True),
        ("base_url = 'https://api.anthropic.com/'\n", True),
        ("base_url = 'https://gate.example.com'\n", False),
        ("base_url = 'https://gate.example.com'\nbatches = true\n", True),
        ("batches = false\n", False),
    ],
)
def test_anthropics_own_address_takes_batches_and_another_where_it_is_said(
    tmp_path: Path,
    text: str,
    batches: bool,  # noqa: FBT001
) -> None:
    file = tmp_path / "f.toml"
    file.write_text(f"[[upstreams]]\nname = 'a'\nkind = 'anthropic'\napi_key_env = 'K'\n{text}")

    assert load({"K": "sk"}, folder=tmp_path, file=file).upstreams[0].batches is batches


@pytest.mark.parametrize("batches", ["true", "false"])
def test_batches_mean_something_to_anthropic_only(tmp_path: Path, batches: str) -> None:
    file = tmp_path / "f.toml"
    file.write_text(f"[[upstreams]]\nname = 'a'\nkind = 'local'\nbatches = {batches}\n")

    with pytest.raises(SettingsError, match="batches: means nothing to an upstream of kind 'local', only to anthropic"):
        load({}, folder=tmp_path, file=file)
