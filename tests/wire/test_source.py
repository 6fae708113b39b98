"""Sources of media: base64 is checked whole, URLs are http, and what is elsewhere is known to be."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.wire.shape import Malformed
from faregate.wire.source import URL_CHARS_MAX, document_source, image_source


def picture(data: Any, media_type: Any = "image/png") -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": data}


@given(st.binary(min_size=1))
def test_any_bytes_in_base64_pass_and_their_length_is_counted(data: bytes) -> None:
    text = base64.b64encode(data).decode()

    assert image_source(picture(text)) == len(text)


@given(st.binary(min_size=3), st.data())
def test_one_wrong_character_anywhere_is_found(data: bytes, where: st.DataObject) -> None:
    text = base64.b64encode(data).decode()
    cut = where.draw(st.integers(0, len(text.rstrip("=")) - 1))
    for wrong in ("-", " ", "\n", "é", "="):
        with pytest.raises(Malformed, match=r"^data: Input should be valid base64"):
            image_source(picture(text[:cut] + wrong + text[cut + 1 :] + ("AAAA" if wrong == "=" else "")))


@pytest.mark.parametrize("data", ["", "AAA", "AAAAA", "A===", "====", "=AAA", "data:image/png;base64,AAAA", 7, None])
def test_what_is_no_base64_is_refused(data: Any) -> None:
    with pytest.raises(Malformed) as refused:
        image_source(picture(data))
    assert refused.value.path == "data"


def test_a_data_url_is_told_to_leave_its_prefix_out() -> None:
    with pytest.raises(Malformed, match="without the data: prefix"):
        image_source(picture("data:image/png;base64,AAAA"))


@pytest.mark.parametrize("media_type", ["image/bmp", "image/PNG", "", None, 3, "application/pdf"])
def test_only_four_kinds_of_image_pass(media_type: Any) -> None:
    with pytest.raises(Malformed, match=r"^media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or"):
        image_source(picture("AAAA", media_type))


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "file:///etc/passwd", "a.png", "", 3, "https:/a", "https://" + "a" * URL_CHARS_MAX]
)
def test_a_url_is_http_and_not_endless(url: Any) -> None:
    for judge in (image_source, document_source):
        with pytest.raises(Malformed) as refused:
            judge({"type": "url", "url": url})
        assert refused.value.path == "url"


def test_urls_and_files_have_no_bytes_in_the_body() -> None:
    assert image_source({"type": "url", "url": "HTTPS://a/b.png"}) == 0
    assert image_source({"type": "file", "file_id": "file_1"}) == 0
    assert document_source({"type": "url", "url": "http://a/b.pdf"}) == (0, True)
    assert document_source({"type": "file", "file_id": "file_1"}) == (0, True)


def test_a_plain_text_document_is_text_of_the_body() -> None:
    assert document_source({"type": "text", "media_type": "text/plain", "data": "words"}) == (0, False)
    with pytest.raises(Malformed, match=r"^data: "):
        document_source({"type": "text", "media_type": "text/plain", "data": 3})
    with pytest.raises(Malformed, match=r"^media_type: "):
        document_source({"type": "text", "media_type": "text/html", "data": "<p>"})


@pytest.mark.parametrize("judge", [image_source, document_source])
def test_an_unknown_source_is_refused(judge: Any) -> None:
    kinds: list[Any] = ["telepathy", None, 3, [], {}]
    for kind in kinds:
        with pytest.raises(Malformed, match=r"^type: Input should be"):
            judge({"type": kind})
    with pytest.raises(Malformed, match=r"^file_id: Field required"):
        judge({"type": "file"})
