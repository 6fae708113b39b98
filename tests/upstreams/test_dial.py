"""TLS trusts whom it should and nobody else, and the egress proxy's CONNECT is one road with clear faults."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from faregate.upstreams.dial import parse_proxy, trust
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import Timeouts
from faregate.upstreams.script import End, Script, events
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import post, until, whole


def context_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


class Secure:
    """A TLS server and a transport; `host` is what the transport calls it."""

    def __init__(self, context: ssl.SSLContext, transport: Transport, script: Script | None = None) -> None:
        self.server = ScriptedServer(script, context=context)
        self.transport = transport

    async def __aenter__(self) -> "Secure":
        await self.server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.transport.aclose()
        await self.server.stop()

    async def connect_fault(self) -> str:
        with pytest.raises(Fault) as caught:
            await post(self.transport, self.server.base_url)
        assert caught.value.kind is FaultKind.CONNECT
        assert not self.server.log, "something was sent before the peer was known"
        return str(caught.value)


async def test_a_private_authority_is_trusted_when_its_file_is_given(authority: trustme.CA, ca_file: str) -> None:
    async with Secure(context_for(authority, "127.0.0.1"), Transport(ca_file=ca_file)) as pair:
        for _ in range(3):
            assert await whole(await post(pair.transport, pair.server.base_url))
        assert pair.server.connections == 1


async def test_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    async with Secure(context_for(authority, "127.0.0.1"), Transport()) as pair:
        assert "certificate" in await pair.connect_fault()


async def test_a_certificate_for_another_host_is_refused(authority: trustme.CA, ca_file: str) -> None:
    async with Secure(context_for(authority, "elsewhere.example"), Transport(ca_file=ca_file)) as pair:
        assert "127.0.0.1" in await pair.connect_fault()


async def test_the_name_that_was_asked_for_is_told_in_the_handshake(authority: trustme.CA, ca_file: str) -> None:
    context = context_for(authority, "localhost")
    asked: list[str | None] = []
    context.sni_callback = lambda sock, name, _: asked.append(name)
    async with Secure(context, Transport(ca_file=ca_file)) as pair:
        await whole(await post(pair.transport, pair.server.base_url.replace("127.0.0.1", "localhost")))
        assert asked == ["localhost"]


async def test_a_peer_that_does_not_speak_tls_is_a_connect_fault(ca_file: str) -> None:
    server = ScriptedServer()
    await server.start()
    transport = Transport(ca_file=ca_file)
    with pytest.raises(Fault) as caught:
        await post(transport, server.base_url.replace("http:", "https:"))
    assert caught.value.kind is FaultKind.CONNECT
    await transport.aclose()
    await server.stop()


async def test_over_tls_too_a_cut_is_a_reset_a_cancel_is_seen_and_a_stalled_reader_stalls_its_peer(
    authority: trustme.CA, ca_file: str
) -> None:
    block = b"x" * 65_536
    script = [events([b"a", b"b"], ending=End.CUT), events([b"a"], ending=End.STALL), events([block] * 1024)]
    async with Secure(context_for(authority, "127.0.0.1"), Transport(ca_file=ca_file), script) as pair:
        with pytest.raises(Fault) as caught:
            await whole(await post(pair.transport, pair.server.base_url))
        assert caught.value.kind is FaultKind.RESET

        reply = await post(pair.transport, pair.server.base_url)
        reply.cancel()
        await until(lambda: pair.server.log[1].hung_up)

        reply = await post(pair.transport, pair.server.base_url)
        written, steady = -1, 0
        while steady < 30:
            await asyncio.sleep(0.01)
            steady = steady + 1 if pair.server.log[2].bytes_written == written else 0
            written = pair.server.log[2].bytes_written
        assert written < 1024 * len(block) / 2
        assert len(await whole(reply)) == 1024 * len(block)


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here")
    with pytest.raises(ssl.SSLError):
        trust(str(empty))


def test_our_own_context_checks_certificates_and_names() -> None:
    context = trust()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# The egress proxy


class EgressProxy:
    """A small real one: takes CONNECT, or answers what it is told to."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n", *, relay: bool = True) -> None:
        self.heads: list[bytes] = []
        self._answer = answer
        self._relay = relay

    async def __aenter__(self) -> "EgressProxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self._answer)
        if self._relay:
            host, port = self.heads[-1].split(b" ")[1].decode().rsplit(":", 1)
            inner_reader, inner_writer = await asyncio.open_connection(host.strip("[]"), int(port))
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def test_plain_and_tls_origins_are_reached_through_connect(authority: trustme.CA, ca_file: str) -> None:
    plain, secure = ScriptedServer(), ScriptedServer(context=context_for(authority, "127.0.0.1"))
    await plain.start()
    await secure.start()
    async with EgressProxy() as proxy:
        transport = Transport(ca_file=ca_file, proxy=proxy.url)
        for server in (plain, secure):
            for _ in range(2):
                assert await whole(await post(transport, server.base_url))
            assert server.connections == 1
            authority_part = server.base_url.split("//")[1].encode()
            assert proxy.heads.pop() == b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (authority_part, authority_part)
            assert not proxy.heads
        await transport.aclose()
        await plain.stop()
        await secure.stop()


async def test_a_certificate_is_checked_through_the_proxy_too(authority: trustme.CA) -> None:
    async with EgressProxy() as proxy, Secure(context_for(authority, "127.0.0.1"), Transport(proxy=proxy.url)) as pair:
        assert "certificate" in await pair.connect_fault()


async def test_the_proxys_password_goes_to_the_proxy_and_nowhere_else() -> None:
    server = ScriptedServer()
    await server.start()
    async with EgressProxy() as proxy:
        url = proxy.url.replace("http://", "http://me:s3cret%2F@")
        transport = Transport(proxy=url)
        await whole(await post(transport, server.base_url))
        assert b"\r\nproxy-authorization: Basic bWU6czNjcmV0Lw==\r\n" in proxy.heads[0]
        assert "proxy-authorization" not in server.log[0].headers
        assert "s3cret" not in repr(parse_proxy(url)) and "czNjcmV0" not in repr(parse_proxy(url))
        await transport.aclose()
    await server.stop()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", FaultKind.CONNECT, "with 403"),
        (b"HTTP/1.1 407 Auth\r\nproxy-authenticate: Basic\r\n\r\n", FaultKind.CONNECT, "user:password@"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", FaultKind.CONNECT, "with 502"),
        (b"SSH-2.0-x\r\n\r\n", FaultKind.PROTOCOL, "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurprise", FaultKind.PROTOCOL, "bytes of its own"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, FaultKind.PROTOCOL, "65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n", FaultKind.CONNECT, "before it answered CONNECT"),
        (b"", FaultKind.CONNECT, "before it answered CONNECT"),
    ],
)
async def test_a_proxy_that_does_not_play_its_part_is_a_clear_fault(answer: bytes, kind: FaultKind, words: str) -> None:
    async with EgressProxy(answer, relay=False) as proxy:
        transport = Transport(proxy=proxy.url.replace("http://", "http://me:s3cret@"))
        with pytest.raises(Fault) as caught:
            await post(transport, "http://upstream.invalid:81")
        assert caught.value.kind is kind
        assert words in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert list(transport.sizes().values()) == [(0, 0)]
        await transport.aclose()


async def test_a_proxy_that_closes_a_tunnel_it_opened_is_a_fault(ca_file: str) -> None:
    async with EgressProxy(relay=False) as proxy:
        transport = Transport(proxy=proxy.url, ca_file=ca_file)
        for url in ("http://upstream.invalid", "https://upstream.invalid"):
            with pytest.raises(Fault) as caught:
                await post(transport, url)
            assert caught.value.kind in (FaultKind.CONNECT, FaultKind.RESET)
        await until(lambda: list(transport.sizes().values()) == [(0, 0), (0, 0)])
        await transport.aclose()


async def test_a_proxy_that_says_nothing_runs_into_the_connect_deadline() -> None:
    mute = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
    transport = Transport(proxy=url, timeouts=Timeouts(connect=0.1))
    with pytest.raises(Fault, match=r"timeouts\.connect") as caught:
        await post(transport, "http://upstream.invalid")
    assert caught.value.kind is FaultKind.CONNECT
    await transport.aclose()
    mute.close()
    await mute.wait_closed()


async def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    transport = Transport(proxy="http://127.0.0.1:9")
    with pytest.raises(Fault, match=r"the proxy 127\.0\.0\.1:9") as caught:
        await post(transport, "http://upstream.invalid")
    assert caught.value.kind is FaultKind.CONNECT
    await transport.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy:3128", "socks5://proxy:1080", "proxy:3128", "http://proxy", "http://proxy:3128/path",
        "http://proxy:99999", "http://:3128", "http://pro xy:3128", "http://proxy:3128\r\nx: y", "http://me:hunter2@proxy",
    ],
)  # fmt: skip
def test_a_proxy_setting_that_cannot_work_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy: ") as refusal:
        parse_proxy(url)
    assert "hunter2" not in str(refusal.value)
