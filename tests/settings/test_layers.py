"""A wrong setting is refused with its place, its key, and the way out.

Method: one wrong thing at a time, and the whole line that the operator reads.
"""

from pathlib import Path

import pytest

from faregate.settings import SettingsError, load


def refusal(folder: Path, text: str | bytes = "", **environ: str) -> str:
    file = folder / "f.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        load({"FAREGATE_HOME": str(folder / "home"), **environ}, folder=folder, file=file)
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(str(file), "f.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport = \n", "f.toml, line 2: invalid value (TOML)"),
        ("[server\n", "f.toml, line 1: expected ']' at the end of a table declaration (TOML)"),
        ("[server]\n\nprot = 1\n", "f.toml, line 3: server.prot: there is no such setting; did you mean port?"),
        ("\n[sever]\nport = 1\n", "f.toml, line 2: sever: there is no such setting; did you mean server?"),
        ("[server]\nport = 'x'\n", "f.toml, line 2: server.port: expected int, got str"),
        ("server.port = true\n", "f.toml, line 1: server.port: expected int, got bool"),
        ("[server]\nport = 70000\n", "f.toml, line 2: server.port: expected int <= 65535, got 70000"),
        ("[retry]\nattempts_max = 0\n", "f.toml, line 2: retry.attempts_max: expected int >= 1, got 0"),
        ("server = 1\n", "f.toml, line 1: server: expected object, got int"),
        ("[log]\nlevel = 'inof'\n", "f.toml, line 2: log.level: 'inof' is none of debug, error, info, warning; "
         "did you mean info?"),
        ("[[upstreams]]\nname = 'a'\nkind = 'local'\n[[upstreams]]\nname = 'b'\nkind = 'locl'\n",
         "f.toml, line 6: upstreams.1.kind: 'locl' is none of anthropic, local, openai, scripted; did you mean local?"),
        ("[[upstreams]]\nname = 'a'\nkind = 'bedrock'\n",
         "f.toml, line 3: upstreams.0.kind: upstreams of kind 'bedrock' are not in this version; "
         "there are anthropic, local, openai, scripted"),
        ("[[upstreams]]\nkind = 'local'\n", "f.toml, line 1: upstreams.0: name is required"),
        ("[[upstreams]]\nname = 'a'\nkind = 'local'\n[upstreams.timeouts]\nidle_s = -1\n",
         "f.toml, line 5: upstreams.0.timeouts.idle_s: expected float > 0.0, got -1"),
        ("[admin]\ntoken = 'x'\n", "f.toml, line 2: admin.token: secrets are not kept in the file: put it into an "
         "environment variable and name that in admin.token_env"),
        ("[[upstreams]]\nname = 'a'\nkind = 'anthropic'\napi_key = 'sk-ant-1'\n",
         "f.toml, line 4: upstreams.0.api_key: secrets are not kept in the file: put it into an environment variable "
         "and name that in api_key_env"),
        (b"[server]\nhost = '\xff'\n", "f.toml, line 2: not UTF-8"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_file_line_and_key(tmp_path: Path, text: str | bytes, line: str) -> None:
    assert refusal(tmp_path, text) == line


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("FAREGATE_SERVER_PORT", "x", "FAREGATE_SERVER_PORT: 'x' is not a number"),
        ("FAREGATE_SERVER_PORT", "70000", "FAREGATE_SERVER_PORT: expected int <= 65535, got 70000"),
        ("FAREGATE_SERVER_PROT", "1", "FAREGATE_SERVER_PROT: there is no setting server.prot; did you mean port?"),
        ("FAREGATE_LOG_LEVEL", "loud", "FAREGATE_LOG_LEVEL: 'loud' is none of debug, error, info, warning"),
        ("FAREGATE_SERVER_TRUSTED_PROXIES", "10.0.0.0/8,x",
         "FAREGATE_SERVER_TRUSTED_PROXIES: 'x' is not an address or a CIDR, as 10.0.0.0/8"),
        ("FAREGATE_DATABASE_URL", "mysql://db/faregate",
         "FAREGATE_DATABASE_URL: 'mysql' is no database that we know: use sqlite:///path or postgresql://user@host/name"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, line: str) -> None:
    assert refusal(tmp_path, **{variable: value}) == line


def test_a_variable_beats_a_section_that_is_no_table_only_with_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path, "server = 1\n", FAREGATE_SERVER_PORT="1") == (
        "f.toml, line 1: server: must be a table, [server]"
    )


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--port: expected int <= 65535, got 70000$"):
        load({}, folder=tmp_path, flags={("server", "port"): 70000})


def test_a_huge_file_is_not_read_as_settings(tmp_path: Path) -> None:
    assert "this is no settings file" in refusal(tmp_path, "#" * (1024 * 1024 + 1))
