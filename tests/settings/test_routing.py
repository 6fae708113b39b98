"""The settings of routing say what they mean by themselves: defaults that change nothing for one upstream.

Method: a file with one of each, read back.
"""

from pathlib import Path

from faregate.settings import load
from faregate.settings.routing import Breaker, Retry, Route

TEXT = """
[[upstreams]]
name = "a"
kind = "local"
[[upstreams]]
name = "b"
kind = "local"
[[routes]]
model = "m"
upstreams = ["a", "b"]
weights = [3, 1]
affinity = false
[[costs]]
upstream = "a"
share = "0.8"
[[costs]]
upstream = "a"
share = "0.7"
valid_from = "2027-01-01"
[[costs]]
upstream = "b"
model = "m"
input = "1"
output = "5"
cache_write_5m = "1"
cache_write_1h = "1"
cache_read = "0.5"
"""


def test_a_route_has_weights_and_affinity_and_an_upstream_has_costs(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text(TEXT)
    settings = load({"FAREGATE_HOME": str(tmp_path), "FAREGATE_BREAKER_REST_S": "2.5"}, folder=tmp_path, file=file)

    (route,) = settings.routes
    assert (route.weights, route.affinity) == ((3, 1), False)
    assert [(one.upstream, one.model, one.share) for one in settings.costs] == [
        ("a", None, 8_000), ("a", None, 7_000), ("b", "m", None),
    ]  # fmt: skip
    assert settings.costs[2].columns is not None and settings.costs[2].columns.cache_read == 500
    assert settings.breaker.rest_s == 2.5


def test_left_out_they_are_what_the_page_says() -> None:
    assert Route(model="m", upstreams=("a",)).affinity
    assert (Retry().share_percent, Retry().floor_per_s) == (20, 10)
    assert Breaker().rest_s <= Breaker().rest_s_max
