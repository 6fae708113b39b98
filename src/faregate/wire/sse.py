"""Server-sent events, cut into whole frames wherever the network split them.

A frame ends with an empty line; a line ends with LF, CRLF or CR. What is cut off here is passed on byte for byte: a
`Cutter` never changes, drops or reorders a byte, it only decides how far the stream is whole.

    pieces of a stream -> Cutter.push -> whole frames as one run of bytes -> cut() or frames()
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""A server tool's result comes whole in one frame and may be large; a line without end must still end somewhere."""

_BLANK: Final = re.compile(rb"(?>\r\n|\r|\n){2}")
_LINE: Final = re.compile(rb"\r\n|\r|\n")
_OVERLAP: Final = 3
"""An empty line that is split between two pieces starts at most this many bytes before the second."""


class Overlong(Exception):
    """A frame went on past FRAME_BYTES_MAX."""


class Frame(msgspec.Struct, frozen=True):
    raw: bytes
    event: bytes
    """The `event:` field; b"" when the frame has none."""
    data: bytes
    """The `data:` lines, joined with LF."""


class Cutter:
    """Keeps the unfinished end of a stream until its rest comes. Bounded by FRAME_BYTES_MAX."""

    __slots__ = ("_pieces", "_seam", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._seam = b""

    @property
    def unfinished(self) -> int:
        """How many bytes wait for the end of their frame."""
        return self._size

    def push(self, data: bytes) -> bytes:
        """Take the next piece; give back every frame that is whole now, b"" if none is. Raises Overlong."""
        if not self._size:
            cut = _end_of_last(data)
            if cut == len(data):
                return data
            return self._keep(data, cut)
        if not _end_of_last(self._seam + data):
            return self._keep(data, 0)
        data = b"".join((*self._pieces, data))
        self._pieces.clear()
        self._size = 0
        self._seam = b""
        return self._keep(data, _end_of_last(data))

    def _keep(self, data: bytes, cut: int) -> bytes:
        if cut < len(data):
            self._pieces.append(data[cut:])
            self._size += len(data) - cut
            self._seam = (self._seam + data[cut:])[-_OVERLAP:] if cut == 0 else data[cut:][-_OVERLAP:]
            if self._size > FRAME_BYTES_MAX:
                raise Overlong
        return data[:cut]


def _end_of_last(data: bytes) -> int:
    if b"\r" not in data:
        end = data.rfind(b"\n\n")
        return end + 2 if end >= 0 else 0
    end = 0
    for match in _BLANK.finditer(data):
        # A CR at the very end may be the first half of a CRLF: wait for the next piece.
        if match.end() < len(data) or not data.endswith(b"\r"):
            end = match.end()
    return end


def end_of_first(whole: bytes, at: int) -> int:
    """Where the first frame from `at` on ends, in a run of whole frames."""
    end = whole.find(b"\n\n", at) + 2
    if end < 2:
        end = len(whole)
    if whole.find(b"\r", at, end) >= 0 and (match := _BLANK.search(whole, at)) is not None:
        return match.end()
    return end


def cut(whole: bytes) -> list[bytes]:
    """Divide a run of whole frames; joined again they are `whole`, with a line end too many where it came."""
    frames, at = [], 0
    while at < len(whole):
        end = end_of_first(whole, at)
        frames.append(whole[at:end])
        at = end
    return frames


def frames(whole: bytes) -> Iterator[Frame]:
    """Read a run of whole frames, one by one."""
    return map(parse, cut(whole))


def parse(raw: bytes) -> Frame:
    """Read one frame's fields; comments and unknown fields are only carried."""
    event, data = b"", []
    for line in _LINE.split(raw) if b"\r" in raw else raw.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value[1:] if value[:1] == b" " else value)
        elif name == b"event":
            event = value[1:] if value[:1] == b" " else value
    return Frame(raw, event, data[0] if len(data) == 1 else b"\n".join(data))


def render(event: bytes, data: bytes) -> bytes:
    """Write a frame as Anthropic does."""
    return b"event: " + event + b"\ndata: " + data + b"\n\n"
