"""Settings come from a file, the environment and flags, in this order, and are whole or refused.

Method: write a file, hand an environment in, and read what comes out.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from faregate.settings import Secret, Settings, SettingsError, load


def read(
    folder: Path,
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[tuple[str, str], object] | None = None,
) -> Settings:
    if text is not None:
        (folder / "faregate.toml").write_text(text)
    return load({"FAREGATE_HOME": str(folder / "home"), **(environ or {})}, folder=folder, flags=flags)


CONTRACT = """
[server]
host = "127.0.0.1"
port = 8080

[admin]
host = "127.0.0.1"
port = 8081
token_env = "FAREGATE_ADMIN_TOKEN"

[database]
url = "sqlite:///faregate.db"

[[upstreams]]
name = "anthropic"
kind = "anthropic"
base_url = "https://api.anthropic.com"
api_key_env = "ANTHROPIC_API_KEY"

[[routes]]
model = "claude-x"
upstreams = ["anthropic"]
aliases = ["claude-x-20251001"]
"""


def test_the_file_of_the_contract_is_read_as_it_stands(tmp_path: Path) -> None:
    settings = read(tmp_path, CONTRACT, {"ANTHROPIC_API_KEY": "sk-ant-1", "FAREGATE_ADMIN_TOKEN": "t0ken"})

    assert (settings.server.port, settings.admin.port) == (8080, 8081)
    assert settings.admin_token == Secret("t0ken")
    assert settings.database == tmp_path / "home" / "faregate.db"
    (upstream,) = settings.upstreams
    assert (upstream.name, upstream.api_keys) == ("anthropic", (Secret("sk-ant-1"),))
    assert settings.routes[0].aliases == ("claude-x-20251001",)
    assert settings.configured


def test_nothing_at_all_gives_defaults_and_the_model_that_we_run_ourselves(tmp_path: Path) -> None:
    settings = read(tmp_path)

    assert settings.file is None
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert [upstream.kind for upstream in settings.upstreams] == ["local"]
    assert not settings.configured
    assert settings.admin_token is None


def test_a_provider_key_alone_sends_to_anthropic(tmp_path: Path) -> None:
    settings = read(tmp_path, environ={"ANTHROPIC_API_KEY": "sk-ant-1"})

    (upstream,) = settings.upstreams
    assert (upstream.kind, upstream.base_url) == ("anthropic", "https://api.anthropic.com")
    assert upstream.api_keys == (Secret("sk-ant-1"),)


def test_an_empty_provider_key_is_no_key(tmp_path: Path) -> None:
    assert read(tmp_path, environ={"ANTHROPIC_API_KEY": ""}).upstreams[0].kind == "local"


def test_the_environment_beats_the_file_and_a_flag_beats_both(tmp_path: Path) -> None:
    text = "[server]\nport = 1001\nhost = '10.0.0.1'\nbody_timeout_s = 5\n"
    environ = {"FAREGATE_SERVER_PORT": "1002", "FAREGATE_SERVER_HOST": "10.0.0.2"}
    settings = read(tmp_path, text, environ, {("server", "port"): 1003})

    assert settings.server.port == 1003
    assert settings.server.host == "10.0.0.2"
    assert settings.server.body_timeout_s == 5


def test_a_list_in_the_environment_is_divided_by_commas(tmp_path: Path) -> None:
    settings = read(tmp_path, environ={"FAREGATE_SERVER_TRUSTED_PROXIES": "10.0.0.0/8, ::1"})

    assert settings.server.trusted_proxies == ("10.0.0.0/8", "::1")


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    read(tmp_path, environ={"FAREGATE_KEY": "sk-fare-1", "FAREGATE_BASE_URL": "x", "FAREGATE_ADMIN_TOKEN": "t"})


def test_the_admin_token_may_be_kept_under_another_name(tmp_path: Path) -> None:
    text = "[admin]\ntoken_env = 'FAREGATE_ADMIN_SECRET'\n"
    settings = read(tmp_path, text, {"FAREGATE_ADMIN_SECRET": "t"})

    assert settings.admin_token == Secret("t")


def test_an_empty_admin_token_is_no_token(tmp_path: Path) -> None:
    assert read(tmp_path, environ={"FAREGATE_ADMIN_TOKEN": ""}).admin_token is None


def test_a_named_file_is_taken_before_the_one_at_hand(tmp_path: Path) -> None:
    (tmp_path / "faregate.toml").write_text("[server]\nport = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 2\n")
    home = {"FAREGATE_HOME": str(tmp_path / "home")}

    assert load(home, folder=tmp_path, file=other).server.port == 2
    assert load({**home, "FAREGATE_CONFIG": str(other)}, folder=tmp_path).server.port == 2
    assert load(home, folder=tmp_path).server.port == 1


def test_the_file_in_the_data_folder_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "faregate.toml").write_text("[server]\nport = 3\n")

    assert read(tmp_path).server.port == 3


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file"):
        load({}, folder=tmp_path, file=Path("none.toml"))


def test_an_absolute_database_is_where_it_says(tmp_path: Path) -> None:
    settings = read(tmp_path, environ={"FAREGATE_DATABASE_URL": f"sqlite:///{tmp_path}/books.db"})

    assert settings.database == tmp_path / "books.db"


def test_files_are_found_beside_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text("")
    (tmp_path / "own.gguf").write_text("")
    text = "[catalog]\nfiles = ['more.toml']\n[[upstreams]]\nname = 'mine'\nkind = 'local'\nmodel_file = 'own.gguf'\n"
    settings = read(tmp_path, text)

    assert settings.catalog.files == (tmp_path / "more.toml",)
    assert settings.upstreams[0].model_file == tmp_path / "own.gguf"


def test_a_data_folder_too_deep_for_a_socket_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"FAREGATE_HOME: .* choose a shorter folder"):
        load({"FAREGATE_HOME": "/" + "x" * 100}, folder=tmp_path)


def test_no_secret_is_in_the_repr_of_settings(tmp_path: Path) -> None:
    settings = read(tmp_path, CONTRACT, {"ANTHROPIC_API_KEY": "sk-ant-1", "FAREGATE_ADMIN_TOKEN": "t0ken"})

    assert "sk-ant-1" not in repr(settings) and "t0ken" not in repr(settings)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = read(tmp_path)

    with pytest.raises(AttributeError):
        settings.server.port = 1  # type: ignore[misc]  # this is what must fail


def test_a_command_that_serves_nobody_needs_no_providers_key(tmp_path: Path) -> None:
    (tmp_path / "faregate.toml").write_text(CONTRACT)
    home = {"FAREGATE_HOME": str(tmp_path / "home")}

    assert load(home, folder=tmp_path, serving=False).upstreams[0].api_keys == ()
    with pytest.raises(SettingsError, match="ANTHROPIC_API_KEY is not set"):
        load(home, folder=tmp_path)


def test_an_upstream_may_have_several_keys_and_its_own_names_for_models(tmp_path: Path) -> None:
    text = (
        "[[upstreams]]\nname = 'vllm'\nkind = 'openai'\nbase_url = 'http://127.0.0.1:8000'\n"
        "api_key_envs = ['FIRST', 'SECOND']\n[upstreams.models]\nclaude-x = 'Qwen/Qwen3-8B'\n"
    )
    (upstream,) = read(tmp_path, text, {"FIRST": "sk-1", "SECOND": "sk-2"}).upstreams

    assert upstream.api_keys == (Secret("sk-1"), Secret("sk-2"))
    assert (upstream.auth, upstream.models) == ("bearer", {"claude-x": "Qwen/Qwen3-8B"})


def test_openai_is_at_its_own_address_unless_another_is_given(tmp_path: Path) -> None:
    text = "[[upstreams]]\nname = 'o'\nkind = 'openai'\napi_key_env = 'OPENAI_API_KEY'\n"
    (upstream,) = read(tmp_path, text, {"OPENAI_API_KEY": "sk-1"}).upstreams

    assert (upstream.base_url, upstream.api_keys) == ("https://api.openai.com/v1", (Secret("sk-1"),))
