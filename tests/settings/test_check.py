"""What can be known to be wrong before anything starts is refused at the key that is wrong.

Method: one broken rule at a time, over a file that is otherwise good.
"""

from pathlib import Path

import pytest

from faregate.settings import SettingsError, load

ENVIRON = {"ANTHROPIC_API_KEY": "sk-ant-1"}
GOOD = "[[upstreams]]\nname = 'main'\nkind = 'anthropic'\napi_key_env = 'ANTHROPIC_API_KEY'\n"
SPARE = "[[upstreams]]\nname = 'spare'\nkind = 'local'\n"


def refusal(folder: Path, text: str) -> str:
    file = folder / "f.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load({"FAREGATE_HOME": str(folder / "home"), **ENVIRON}, folder=folder, file=file)
    return str(caught.value).removeprefix(f"{file}, ").replace(str(folder), "")


def test_a_good_file_passes(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text(GOOD + SPARE + "[[routes]]\nmodel = 'a'\nupstreams = ['spare', 'main']\naliases = ['b']\n")

    assert len(load(ENVIRON, folder=tmp_path, file=file).routes) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\ntrusted_proxies = ['10.0.0.0/8', 'proxy']\n",
         "line 2: server.trusted_proxies.1: 'proxy' is not an address or a CIDR, as 10.0.0.0/8"),
        ("[admin]\nport = 8080\n",
         "line 2: admin.port: 8080 is the callers' port too: the admin API needs one of its own"),
        ("[database]\nurl = 'mysql://x'\n",
         "line 2: database.url: 'mysql' is no database that we know: use sqlite:///path or postgresql://user@host/name"),
        *[(f"[database]\nurl = '{url}'\n",
           "line 2: database.url: is not a URL like postgresql://user:password@host:5432/name, with the database's "
           "name at its end") for url in ("postgresql://", "postgresql://a:b@h", "postgres://h:x/n", "postgresql://h/n#f")],
        ("[database]\nurl = 'sqlite:///'\n",
         "line 2: database.url: 'sqlite:///' names no file: use sqlite:///faregate.db or sqlite:////an/absolute/path.db"),
        ("[database]\nurl = 'sqlite:///:memory:'\n",
         "line 2: database.url: 'sqlite:///:memory:': the ledger is a plain file: no options, no database in memory"),
        ("[limits]\nabandon_budget = 'none'\n",
         "line 2: limits.abandon_budget: 'none' is not an amount of credits: digits with at most three decimals, as "
         "12.5; or the word 'unlimited'"),
        ("[limits]\nabandon_budget = '-1'\n",
         "line 2: limits.abandon_budget: '-1' is below 0; or the word 'unlimited'"),
        ("[[upstreams]]\nname = 'main'\nkind = 'anthropic'\n",
         "line 1: upstreams.0.api_key_env: is required: name the environment variable with the API key of 'main'"),
        ("[[upstreams]]\nname = 'main'\nkind = 'anthropic'\napi_key_env = 'OTHER_KEY'\n",
         "line 4: upstreams.0.api_key_env: the environment variable OTHER_KEY is not set: export it, or remove this "
         "upstream"),
        (GOOD + "base_url = 'api.anthropic.com'\n",
         "line 5: upstreams.0.base_url: 'api.anthropic.com' is not a URL that begins with https:// or http://"),
        (GOOD + "base_url = 'https://user:pass@host'\n",
         "line 5: upstreams.0.base_url: holds a user or password, and secrets are not kept in the file"),
        (GOOD + "base_url = 'https://host?x=1'\n",
         "line 5: upstreams.0.base_url: 'https://host?x=1' has a query or a fragment, which a base address has not"),
        (GOOD + "base_url = 'https://host:99999'\n",
         "line 5: upstreams.0.base_url: 'https://host:99999' is not a URL that begins with https:// or http://"),
        (GOOD + "proxy = 'https://host'\n",
         "line 5: upstreams.0.proxy: 'https://host' is not a URL that begins with http://"),
        (GOOD + "ca_file = 'none.pem'\n", "line 5: upstreams.0.ca_file: there is no file /none.pem"),
        (GOOD + "model_file = 'x.gguf'\n",
         "line 5: upstreams.0.model_file: means nothing to an upstream of kind 'anthropic', only to local"),
        (SPARE + "base_url = 'http://x'\n",
         "line 4: upstreams.0.base_url: means nothing to an upstream of kind 'local', only to anthropic, openai"),
        (SPARE + "model_file = 'none.gguf'\n", "line 4: upstreams.0.model_file: there is no file /none.gguf"),
        ("[[upstreams]]\nname = 'main'\nkind = 'openai'\n",
         "line 1: upstreams.0.api_key_env: is required: name the environment variable with the API key of 'main'"),
        ("[[upstreams]]\nname = 'main'\nkind = 'openai'\nbase_url = 'https://api.openai.com/v1'\n",
         "line 1: upstreams.0.api_key_env: is required: name the environment variable with the API key of 'main'"),
        (GOOD + "api_key_envs = ['ANTHROPIC_API_KEY']\n",
         "line 5: upstreams.0.api_key_envs: stands beside api_key_env: name all variables here, and leave the other "
         "out"),
        ("[[upstreams]]\nname = 'main'\nkind = 'anthropic'\napi_key_envs = ['ANTHROPIC_API_KEY', 'SECOND_KEY']\n",
         "line 4: upstreams.0.api_key_envs: the environment variable SECOND_KEY is not set: export it, or remove this "
         "upstream"),
        (GOOD + "models = { a = '' }\n",
         "line 5: upstreams.0.models: 'a' is called nothing here: write the upstream's own name for it"),
        (SPARE + "models = { a = 'b' }\n",
         "line 4: upstreams.0.models: means nothing to an upstream of kind 'local', only to anthropic, openai"),
        (GOOD + GOOD, "line 6: upstreams.1.name: 'main' is taken by an earlier entry"),
        (GOOD + "[[routes]]\nmodel = 'a'\nupstreams = ['mian']\n",
         "line 7: routes.0.upstreams.0: there is no upstream 'mian'; did you mean main?"),
        (GOOD + "[[routes]]\nmodel = 'a'\nupstreams = ['main', 'main']\n",
         "line 7: routes.0.upstreams.1: 'main' is named twice"),
        (GOOD + "[[routes]]\nmodel = 'a'\nupstreams = ['main']\n" * 2,
         "line 9: routes.1.model: 'a' is taken by an earlier entry"),
        (GOOD + "[[routes]]\nmodel = 'a'\nupstreams = ['main']\naliases = ['x', 'x']\n",
         "line 8: routes.0.aliases.1: 'x' already names 'a'"),
        ("[[routes]]\nmodel = 'a'\nupstreams = ['local']\n",
         "line 3: routes.0.upstreams.0: there is no upstream 'local'"),
        ("[catalog]\nfiles = ['none.toml']\n", "line 2: catalog.files.0: there is no file /none.toml"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text) == line


def test_a_route_may_name_the_upstream_that_we_choose_ourselves(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text("[[routes]]\nmodel = 'a'\nupstreams = ['anthropic']\n")

    assert load(ENVIRON, folder=tmp_path, file=file).upstreams[0].name == "anthropic"


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_a_server_of_ones_own_may_want_no_key(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "f.toml"
    file.write_text(f"[[upstreams]]\nname = 'mine'\nkind = '{kind}'\nbase_url = 'http://127.0.0.1:8000'\n")

    assert load(ENVIRON, folder=tmp_path, file=file).upstreams[0].api_keys == ()
