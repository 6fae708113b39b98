"""A picture's size is read from its first bytes, and nothing that is sent makes the reading fail.

Method: headers written by hand for each format, and any text at all.
"""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.media import Picture, picture_tokens

HEADS = {
    "png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480),
    "gif": b"GIF89a" + struct.pack("<HH", 640, 480),
    "webp lossy": b"RIFF____WEBPVP8 ____" + bytes(6) + struct.pack("<HH", 640, 480),
    "webp lossless": b"RIFF____WEBPVP8L____\x2f" + (639 | 479 << 14).to_bytes(4, "little"),
    "webp extended": b"RIFF____WEBPVP8X____" + bytes(4) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little"),
    "jpeg": b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"__\xff\xc0" + struct.pack(">HBHH", 17, 8, 480, 640),
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_size_is_read_from_each_format(head: bytes) -> None:
    assert Picture.of(base64.b64encode(head + bytes(64)).decode()) == Picture(640, 480)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()))
def test_whatever_is_sent_it_is_read_or_not_understood(data: str) -> None:
    found = Picture.of(data)

    assert found is None or (found.width > 0 and found.height > 0)
    whole, scaled = picture_tokens(found, 1_600)
    assert 1 <= scaled <= whole <= 1_600


@given(st.sampled_from(sorted(HEADS)), st.binary(max_size=40))
def test_a_head_that_goes_on_as_nonsense_is_no_error(kind: str, rest: bytes) -> None:
    Picture.of(base64.b64encode(HEADS[kind][:12] + rest).decode())


@pytest.mark.parametrize(
    ("picture", "tokens"),
    [
        (Picture(750, 10), (10, 10)),
        (Picture(1_568, 1_568), (1_600, 1_600)),
        (Picture(3_098, 100), (414, 104)),
        (None, (1_600, 1_600)),
    ],
)
def test_a_picture_comes_to_its_pixels_up_to_the_most(picture: Picture | None, tokens: tuple[int, int]) -> None:
    assert picture_tokens(picture, 1_600) == tokens
