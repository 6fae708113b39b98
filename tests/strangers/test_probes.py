"""Nobody comes in without a key: every route, by every method, with a hundred and more keys that are nearly one.

Method: real sockets; each probe is one request. What needs a key answers 401 (or 404 or 405, where nothing is behind
the path), asks no upstream and leaves no row; what is public stays so; and the admin door likewise, with its token.
"""

import base64
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from faregate.core.access import ALPHABET, compose
from faregate.edge import desk
from faregate.edge.openapi import ROOT
from faregate.edge.verbs import VERBS
from tests.gateway import ASK, MODEL
from tests.strangers.house import ADMIN_TOKEN, LAST, House, clean

Header = tuple[bytes, bytes]

BODY: Final = msgspec.json.encode(ASK)
METHODS: Final = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND")
KEYED: Final = (
    (b"POST", "/v1/messages"), (b"POST", "/v1/messages/count_tokens"), (b"POST", "/v1/messages/quote"),
    (b"GET", "/v1/models"), (b"GET", f"/v1/models/{MODEL}"), (b"GET", "/v1/receipts/msg_01"), (b"GET", "/v1/usage"),
    (b"GET", "/v1/wallet"),
)  # fmt: skip
PUBLIC: Final = ("/v1/pricing", "/healthz", "/readyz", "/metrics")
CALL: Final = KEYED[0]


def request(method: bytes, path: str | bytes, *headers: Header, version: bytes = b"1.1") -> bytes:
    target = path.encode() if isinstance(path, str) else path
    lines = b"".join(b"%b: %b\r\n" % header for header in (*headers, (b"content-length", b"%d" % len(BODY))))
    return b"%b %b HTTP/%b\r\nhost: x\r\n%b\r\n%b" % (method, target, version, lines, BODY)


@pytest.fixture(scope="module")
def key(house: House) -> bytes:
    """A good key, known to the process too: what is nearly it must not be found in a cache."""
    key = house.key()
    assert house.do(house.gate.message(key)).status_code == 200
    return key.encode()


def near(key: bytes) -> Iterator[Header]:
    """Headers that are nearly those of a good key."""
    api, authorization = b"x-api-key", b"authorization"
    letters = itertools.cycle(ALPHABET.encode())
    for place, byte in enumerate(key):
        other = next(letter for letter in letters if letter != byte)
        yield api, key[:place] + bytes([other]) + key[place + 1 :]
    for size in (0, 1, 8, 20, 21, len(key) - 6, len(key) - 1):
        yield api, key[:size]
    for changed in (key.upper(), key.lower(), key.swapcase(), key[::-1], key + key, key + b"a", b"a" + key, key[1:]):
        yield api, changed
    for put in (b" ", b"\t", b"-", b"_", b"%00", b"\xa0", b"\xc2\xa0", b"\xe2\x80\x8b", b","):
        yield api, key[:30] + put + key[30:]
    for around in (
        b'"%b"',
        b"'%b'",
        b"Bearer %b",
        b"%b,",
        b"%b;",
        b"x-api-key=%b",
        b"%b\xff",
        b"\xef\xbb\xbf%b",
        b"%%20%b",
    ):
        yield api, around % key
    for known in (
        b"null",
        b"undefined",
        b"true",
        b"*",
        b"%",
        b"' OR 1=1 --",
        b"sk-fare-",
        b"sk-ant-api03-x",
        b"a" * 9_000,
    ):
        yield api, known
    yield api, key.replace(b"a", "а".encode())  # The Cyrillic one.
    yield api, "".join(chr(byte + 0xFEE0) for byte in key).encode()  # Full width.
    for written in (
        b"%b", b"Basic %b", b"Bearer", b"Bearer ", b"Bearer%b", b"Bearer:%b", b"Bearer=%b", b"Token %b", b"Digest %b",
        b'Bearer "%b"', b"Bearer Bearer %b", b"ApiKey %b", b"Bearer %b, Bearer x", b"x Bearer %b",
    ):  # fmt: skip
        yield authorization, written % key if b"%" in written else written
    for pair in (b":%b", b"%b:", b"key:%b"):
        yield authorization, b"Basic " + base64.b64encode(pair % key)
    yield b"proxy-authorization", b"Bearer " + key
    for name in (
        b"api-key", b"x_api_key", b"x-api-keys", b"xapikey", b"x-apikey", b"x-goog-api-key", b"anthropic-api-key",
        b"x-auth-token", b"x-forwarded-authorization", b"x-original-authorization", b"x-user", b"x-wallet-id",
        b"cookie", b"x-remote-user", b"x-key-id",
    ):  # fmt: skip
        yield name, key
    yield b"cookie", b"x-api-key=%b; authorization=Bearer %b" % (key, key)


TOLD_OTHERWISE: Final[tuple[Header, ...]] = (
    (b"x-original-url", b"/healthz"), (b"x-rewrite-url", b"/healthz"), (b"x-forwarded-path", b"/metrics"),
    (b"x-forwarded-prefix", b"/healthz"), (b"x-forwarded-for", b"127.0.0.1"), (b"x-real-ip", b"127.0.0.1"),
    (b"forwarded", b"for=127.0.0.1;host=localhost"), (b"x-forwarded-host", b"localhost"),
    (b"x-forwarded-proto", b"https"),
    (b"x-http-method-override", b"GET"), (b"x-http-method", b"GET"), (b"x-method-override", b"OPTIONS"),
    (b"host", b"localhost"), (b"host", b"admin"),
    (b"via", b"1.1 faregate"), (b"x-internal", b"1"),
    (b"x-admin", b"true"),
    (b"connection", b"x-api-key"), (b"connection", b"close, authorization"), (b"te", b"trailers"),
    (b"origin", b"http://localhost"), (b"referer", b"http://localhost/admin"), (b"max-forwards", b"0"),
)  # fmt: skip


def test_no_key_that_is_nearly_one_is_let_in(house: House, key: bytes) -> None:
    probes = list(near(key))
    assert len(probes) >= 120
    with house.undisturbed():
        for header in probes:
            for method, path in KEYED:
                answer = house.say(request(method, path, header) + LAST)[0]
                assert clean(answer)["type"] == "authentication_error", header
                assert answer.status_code == 401, header


def test_what_a_request_says_of_itself_opens_nothing(house: House, key: bytes) -> None:
    with house.undisturbed():
        for header in TOLD_OTHERWISE:
            for method, path in KEYED:
                assert clean(house.say(request(method, path, header) + LAST)[0])["type"] == "authentication_error"
        for method, path in KEYED:
            old = house.say(request(method, path, version=b"1.0"))
            assert [answer.status_code for answer in old] == [401]


def test_a_bad_key_beside_a_good_one_is_no_way_in(house: House, key: bytes) -> None:
    good = b"Bearer " + key
    with house.undisturbed():
        for bad in (key[:-1], b"x", key.lower(), b"Bearer " + key):
            answer = house.say(request(*CALL, (b"x-api-key", bad), (b"authorization", good)) + LAST)[0]
            assert answer.status_code == 401
            # Of a line that is sent twice the last counts.
            assert house.say(request(*CALL, (b"x-api-key", key), (b"x-api-key", bad)) + LAST)[0].status_code == 401
        assert house.say(request(*CALL, (b"authorization", b"Basic x")) + LAST)[0].status_code == 401


def variants(path: str) -> Iterator[str]:
    """A path as it might be written by who hopes that two readers differ."""
    head, _, tail = path.rpartition("/")
    yield from (
        f"/{path}", f"{path}/", f"{path}//", path.upper(), path.title(), f"{head}//{tail}", f"{head}/./{tail}",
        f"{head}/x/../{tail}", f"/healthz/..{path}", f"/healthz%2f..{path}", f"{head}%2f{tail}", f"{head}%2F{tail}",
        f"{head}/%2e/{tail}", f"{head}/{tail}%20", f"{head}/%20{tail}", f"{path};x", f"{path};/healthz", f"{path}.json",
        f"{path}%00", f"{path}%0a", f"{path}%0d%0a", f"{path}%23", f"{path}%3f", f"{path}?", f"{path}?key=x",
        f"{path}#x",
        f"{head}\\{tail}", f"{head}/%%{tail}", f"%2f{path[1:]}", f"{path}%c0%af", f"/%76{path[2:]}", f"{path}/healthz",
        f"/v1/../{path[1:]}", f"/metrics/../..{path}", f"http://localhost{path}", f"http://x{path}?healthz",
    )  # fmt: skip


@pytest.mark.parametrize(("method", "path"), KEYED, ids=[path for _, path in KEYED])
def test_no_way_to_write_a_path_leads_in_without_a_key(house: House, key: bytes, method: bytes, path: str) -> None:
    with house.undisturbed():
        for written in variants(path):
            answer = house.say(request(method, written) + LAST)[0]
            clean(answer)
            assert answer.status_code in (400, 401, 404, 405), written


def test_every_method_on_every_route_asks_for_a_key_or_is_none(house: House, key: bytes) -> None:
    with house.undisturbed():
        for (kept, path), method in itertools.product(KEYED, METHODS):
            answer = house.say(request(method, path) + LAST)[0]
            clean(answer)
            assert answer.status_code == (401 if method == kept else 405), (method, path)
        for path, method in itertools.product(PUBLIC, METHODS):
            answer = house.say(request(method, path) + LAST)[0]
            assert answer.status_code == (200 if method == b"GET" else 405), (method, path)


def test_the_head_of_a_route_tells_no_more_than_its_whole(house: House, key: bytes) -> None:
    with house.undisturbed():
        for method, path in KEYED:
            assert house.status(request(b"HEAD", path)) == (401 if method == b"GET" else 405)
        for path in PUBLIC:
            assert house.status(request(b"HEAD", path)) == 200


def test_a_key_in_query_path_or_body_is_none(house: House, key: bytes) -> None:
    written = key.decode()
    with house.undisturbed():
        for name in ("key", "api_key", "x-api-key", "access_token", "token", "authorization", "auth"):
            for method, path in KEYED:
                assert house.say(request(method, f"{path}?{name}={written}") + LAST)[0].status_code == 401
            body = msgspec.json.encode({**ASK, name: written})
            head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
            assert house.say(head + body + LAST)[0].status_code == 401
        for path in (f"/{written}/v1/wallet", f"/v1/wallet/{written}", f"http://x:{written}@localhost/v1/wallet"):
            assert house.say(request(b"GET", path) + LAST)[0].status_code in (401, 404)


def test_keys_that_were_good_or_are_so_elsewhere_are_refused_alike(house: House, key: bytes) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    expired, revoked = house.key(expires_at=soon), house.key()
    for once in (revoked,):
        assert house.do(house.gate.message(once)).status_code == 200
    id_of = revoked.removeprefix("sk-fare-").partition("_")[0]
    house.do(desk.key_revoke(house.gate.running.desk, desk.Asked(name=id_of)))
    while house.do(house.gate.get("/v1/wallet", expired)).status_code == 200:
        pass
    # Well formed, with the id of a key of ours: what another pepper, or another database, would let in.
    elsewhere = compose(key.decode()[8:20], "z" * 32)
    messages = set()
    with house.undisturbed():
        for bad, code in ((expired, "key_expired"), (revoked, "key_revoked"), (elsewhere, "invalid_api_key")):
            for method, path in KEYED:
                error = clean(house.say(request(method, path, (b"x-api-key", bad.encode())) + LAST)[0])
                assert (error["type"], error["details"]["error_code"]) == ("authentication_error", code)
                messages.add(error["message"])
    assert len(messages) == 1


def tokens() -> Iterator[Any]:
    """Headers that are nearly the admin token's."""
    token = ADMIN_TOKEN.encode()
    yield ()
    for place in range(len(token)):
        yield ((b"authorization", b"Bearer " + token[:place] + b"~" + token[place + 1 :]),)
    for written in (
        b"", b"Bearer", b"Bearer ", b"%b", b"Basic %b", b"Bearer%b", b"Bearer %bx", b"Bearer x%b", b'Bearer "%b"',
        b"Bearer Bearer %b", b"Bearer \xff", b"Token %b", b"Bearer %b, x", b"Bearer null", b"Bearer " + b"a" * 30_000,
    ):  # fmt: skip
        yield ((b"authorization", written % token if b"%" in written else written),)
    yield ((b"authorization", b"Bearer " + token.upper()),)
    yield ((b"authorization", b"Basic " + base64.b64encode(b":" + token)),)
    for name in (b"x-api-key", b"x-admin-token", b"cookie", b"proxy-authorization", b"token"):
        yield ((name, token),)
    for header in TOLD_OTHERWISE:
        yield (header,)


def test_the_admin_door_opens_for_its_token_alone(house: House, key: bytes) -> None:
    routes = [(verb.method.encode(), ROOT + verb.path.replace("{name}", "main")) for verb in VERBS]
    headers = [*tokens(), ((b"authorization", b"Bearer " + key),), ((b"x-api-key", key),)]
    with house.undisturbed():
        for method, path in [*routes, (b"GET", f"{ROOT}/openapi.json")]:
            for sent in headers:
                answer = house.say(request(method, path, *sent) + LAST, to=house.admin_url)[0]
                assert clean(answer)["type"] == "authentication_error", (method, path, sent)
        for written in variants(f"{ROOT}/wallets"):
            answer = house.say(request(b"GET", written) + LAST, to=house.admin_url)[0]
            assert answer.status_code in (400, 401, 404, 405), written
            clean(answer)


def test_the_two_doors_are_not_one(house: House, key: bytes) -> None:
    token = (b"authorization", b"Bearer " + ADMIN_TOKEN.encode())
    with house.undisturbed():
        for verb in VERBS:
            path = ROOT + verb.path.replace("{name}", "main")
            assert house.say(request(verb.method.encode(), path, token) + LAST)[0].status_code == 404
        for method, path in (*KEYED, *((b"GET", path) for path in PUBLIC)):
            answers = house.say(request(method, path, token, (b"x-api-key", key)) + LAST, to=house.admin_url)
            assert answers[0].status_code == 404
