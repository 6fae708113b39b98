"""A base URL means one place, and nothing in a request's head can begin a line of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.upstreams.origin import Origin, check_header, parse_base_url, request_head


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://api.anthropic.com", Origin("https", "api.anthropic.com", 443), ""),
        ("https://api.anthropic.com/", Origin("https", "api.anthropic.com", 443), ""),
        ("http://127.0.0.1:9000/a/b/", Origin("http", "127.0.0.1", 9000), "/a/b"),
        ("http://[::1]:9000/x", Origin("http", "::1", 9000), "/x"),
        ("https://[2001:db8::1]", Origin("https", "2001:db8::1", 443), ""),
        ("HTTPS://API.Example.COM", Origin("https", "api.example.com", 443), ""),
    ],
)
def test_a_base_url_is_read_as_origin_and_prefix(url: str, origin: Origin, prefix: str) -> None:
    assert parse_base_url(url) == (origin, prefix)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host", "https://"),
        ("api.anthropic.com", "https://"),
        ("https://", "names no host"),
        ("https://user:hunter2@host", "user name"),
        ("https://host/?a=hunter2", "without ?"),
        ("https://host/#hunter2", "without ?"),
        ("https://host:99999/hunter2", "Port out of range"),
        ("https://host:0/hunter2", "port 0"),
        ("https://host/hunter2\r\nx: y", "control"),
        ("https://host/hunter2 b", "space"),
        ("https://hörst/hunter2", "outside ASCII"),
        ("https://[::1", "Invalid IPv6"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused_with_a_reason_and_without_its_secrets(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^base_url: ") as refusal:
        parse_base_url(url)
    assert reason in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_the_authority_leaves_out_only_the_port_of_its_own_scheme() -> None:
    assert Origin("https", "a.example", 443).authority == "a.example"
    assert Origin("http", "a.example", 443).authority == "a.example:443"
    assert Origin("http", "::1", 8080).authority == "[::1]:8080"
    assert Origin("https", "::1", 443).target == "[::1]:443"


def test_a_head_ends_where_the_length_is_to_be_written() -> None:
    head = request_head(Origin("http", "h", 80), "/v1/messages", [("x-api-key", "k")])
    assert head == (
        b"POST /v1/messages HTTP/1.1\r\nhost: h\r\naccept-encoding: identity\r\nx-api-key: k\r\ncontent-length: "
    )


@pytest.mark.parametrize("bad", ["Q\r\nb: c", "Q\nb", "Q\rb", "Q\x00b", " Q", "Q ", "Q\x7fb", "日本"])
def test_a_header_value_that_could_end_its_line_is_refused_and_not_repeated(bad: str) -> None:
    with pytest.raises(ValueError, match="header x-key") as refusal:
        request_head(Origin("http", "h", 80), "/", [("x-key", bad)])
    assert "Q" not in str(refusal.value)


@pytest.mark.parametrize("bad", ["", "a b", "a:", "a\r\nb", "ä"])
def test_a_header_name_that_is_no_token_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="header name"):
        check_header(bad, "v")


@pytest.mark.parametrize("bad", ["v1", "/a b", "/a\r\nx: y", "/ä", ""])
def test_a_path_that_could_end_its_line_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="path"):
        request_head(Origin("http", "h", 80), bad, [])


@given(name=st.text(max_size=12), value=st.text(max_size=40))
def test_whatever_passes_the_check_adds_exactly_one_line(name: str, value: str) -> None:
    origin = Origin("http", "h", 80)
    bare = request_head(origin, "/", [])
    try:
        head = request_head(origin, "/", [(name, value)])
    except ValueError:
        return
    assert head.count(b"\r\n") == bare.count(b"\r\n") + 1
    assert head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n")
    assert b"\x00" not in head
