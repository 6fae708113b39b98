"""What a request's head says: who sent it, which of its headers count, and whether its body may be read."""

import ipaddress

import pytest

from faregate.core.errors import BodyTooLarge, UnsupportedMedia
from faregate.edge.intake import Intake, client_address, fields

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PROXIES: tuple[Network, ...] = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"gzip, identity", b"x" * 500])
def test_a_compressed_body_is_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=r"content-encoding: .{1,80}$"):
        Intake().judge_head({b"content-encoding": encoding})


@pytest.mark.parametrize("encoding", [b"identity", b"Identity ", b""])
def test_a_body_as_it_is_may_say_so(encoding: bytes) -> None:
    Intake().judge_head({b"content-encoding": encoding})


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"deflate", b""])
def test_a_body_in_another_coding_than_chunks_is_refused(coding: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=r"transfer-encoding: .{1,80}$"):
        Intake().judge_head({b"transfer-encoding": coding})
    Intake().judge_head({b"transfer-encoding": b"Chunked"})


def test_an_announced_length_over_the_limit_is_refused_before_a_byte_is_read() -> None:
    with pytest.raises(BodyTooLarge):
        Intake(body_bytes_max=5).judge_head({b"content-length": b"6"})
    Intake(body_bytes_max=5).judge_head({b"content-length": b"5"})


def test_of_a_header_that_is_sent_twice_the_last_counts_and_of_betas_all() -> None:
    found = fields([(b"a", b"1"), (b"anthropic-beta", b"x"), (b"a", b"2"), (b"anthropic-beta", b"y,z")])

    assert found == {b"a": b"2", b"anthropic-beta": b"x,y,z"}


def test_two_idempotency_keys_are_none_that_passes() -> None:
    found = fields([(b"idempotency-key", b"one"), (b"idempotency-key", b"two")])

    assert not found[b"idempotency-key"].decode().isprintable()


def address(peer: str, *forwarded: str, trusted: tuple[Network, ...] = PROXIES) -> str:
    return client_address((peer, 1), [(b"x-forwarded-for", line.encode()) for line in forwarded], trusted)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.1", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["unknown"], "unknown"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "unknown"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_clients_address_is_the_last_that_no_trusted_proxy_vouches_for(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert address(peer, *forwarded) == expected


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert address("10.0.0.1", "198.51.100.1", trusted=()) == "10.0.0.1"


def test_a_client_without_an_address_has_none() -> None:
    assert client_address(None, [], ()) == ""
