"""Framing must not depend on where the network split the stream.

Method: join frames with every kind of line end, cut the bytes anywhere, and compare with the uncut reading.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.wire import sse

LINE = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
END = st.sampled_from(["\n", "\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    text = ""
    for _ in range(draw(st.integers(1, 6))):
        end = draw(END)
        fields = [f"event: {draw(LINE)}", f"data: {draw(LINE)}", f": {draw(LINE)}"]
        text += end.join(draw(st.lists(st.sampled_from(fields), min_size=1, max_size=4))) + end + end
    return text.encode()


@st.composite
def cuts(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(streams())
    at = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    return stream, [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]


@given(cuts())
def test_a_stream_reads_the_same_however_it_was_cut(cut: tuple[bytes, list[bytes]]) -> None:
    stream, pieces = cut
    cutter = sse.Cutter()
    runs = [cutter.push(piece) for piece in pieces]

    assert b"".join(runs) == stream
    assert cutter.unfinished == 0
    assert [f for run in runs for f in sse.frames(run)] == list(sse.frames(stream))


@given(streams())
def test_a_stream_reads_the_same_byte_by_byte(stream: bytes) -> None:
    cutter = sse.Cutter()
    runs = [cutter.push(stream[i : i + 1]) for i in range(len(stream))]

    assert b"".join(runs) == stream
    assert [f for run in runs for f in sse.frames(run)] == list(sse.frames(stream))


@given(cuts())
def test_only_whole_frames_are_let_through(cut: tuple[bytes, list[bytes]]) -> None:
    _, pieces = cut
    cutter = sse.Cutter()
    for piece in pieces:
        run = cutter.push(piece)
        assert b"".join(frame.raw for frame in sse.frames(run)) == run


def test_a_line_end_too_many_is_passed_on_wherever_the_stream_is_cut() -> None:
    stream = b"data: a\n\n\n\ndata: b\n\n\ndata: c\n\n"
    for at in range(len(stream) + 1):
        cutter = sse.Cutter()
        runs = [cutter.push(stream[:at]), cutter.push(stream[at:])]
        assert b"".join(frame.raw for run in runs for frame in sse.frames(run)) == stream
        assert [frame.data for run in runs for frame in sse.frames(run) if frame.data] == [b"a", b"b", b"c"]


def test_a_frame_without_its_end_waits() -> None:
    cutter = sse.Cutter()

    assert cutter.push(b"event: ping\ndata: {}\n") == b""
    assert cutter.unfinished == 21
    assert cutter.push(b"\n") == b"event: ping\ndata: {}\n\n"


def test_a_split_code_point_is_passed_on_whole() -> None:
    cutter = sse.Cutter()
    stream = "event: x\ndata: 漢\n\n".encode()

    assert cutter.push(stream[:17]) == b""
    assert cutter.push(stream[17:]) == stream


def test_fields_are_read_with_and_without_the_space() -> None:
    assert sse.parse(b"event:a\ndata:{}\n\n") == sse.Frame(b"event:a\ndata:{}\n\n", b"a", b"{}")
    assert sse.parse(b"event: a\r\ndata: {\r\ndata: }\r\n\r\n").data == b"{\n}"


def test_a_frame_that_never_ends_is_given_up() -> None:
    cutter = sse.Cutter()
    cutter.push(b"data: ")
    with pytest.raises(sse.Overlong):
        for _ in range(20):
            cutter.push(b"x" * 1024 * 1024)


def test_a_rendered_frame_reads_back() -> None:
    assert sse.parse(sse.render(b"error", b'{"a":1}')) == sse.Frame(
        b'event: error\ndata: {"a":1}\n\n', b"error", b'{"a":1}'
    )
