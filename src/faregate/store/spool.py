"""The spool: settles that the database could not take, on our own disk until it can.

A settle is never refused: the tokens were made, and the caller waits for the end. So when the database is away, the
settle is appended here and flushed to the disk, the caller sees the end, and it is carried out as soon as the database
is back, at the latest by the next start. Settling twice changes nothing, so a line that is carried out again does no
harm.

    one line a settle: CRC-32 of what follows, a space, the command as JSON

The last line may be torn by a crash: nobody was told of that one, and it is passed over. Any other damage is refused.
"""

import contextlib
import os
import zlib
from pathlib import Path
from typing import Final

import msgspec

from faregate.core.ledger import Settle
from faregate.store.database import StoreRefused

CRC_DIGITS: Final = 8


class Spool:
    """One node's file. Not made before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Settle]:
        """What was left here, in order. Raises StoreRefused when the file is damaged."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreRefused(f"The spool {self.path} cannot be read: {error.strerror}.") from None
        # After the last line end there is nothing, or what a crash left of a line.
        return [self._command(number, line) for number, line in enumerate(lines[:-1], start=1)]

    def _command(self, number: int, line: bytes) -> Settle:
        check, _, text = line.partition(b" ")
        try:
            if int(check, 16) == zlib.crc32(text):
                return msgspec.json.decode(text, type=Settle)
        except (ValueError, msgspec.MsgspecError):
            pass
        raise StoreRefused(
            f"Line {number} of the spool {self.path} is damaged. It holds what calls cost while the database was away: "
            "keep a copy, take the damaged line out, and start again."
        )

    def append(self, command: Settle) -> None:
        """Keep one more, durably, or leave nothing of it. Raises OSError."""
        text = msgspec.json.encode(command)
        line = b"%0*x %b\n" % (CRC_DIGITS, zlib.crc32(text), text)
        made = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = _whole(file)
            try:
                os.ftruncate(file, end)
                if os.pwrite(file, line, end) != len(line):
                    raise OSError("the disk took a part of the line only")
                os.fsync(file)
                if made:
                    _sync_folder(self.path.parent)
            except OSError:
                self._take_back(file, end, made=made)
                raise
        finally:
            os.close(file)

    def _take_back(self, file: int, end: int, *, made: bool) -> None:
        # Whoever is told that it could not be kept is told an error, which must not be billed by the next start.
        with contextlib.suppress(OSError):
            os.ftruncate(file, end)
            if made:
                self.path.unlink()
            os.fsync(file)

    def clear(self) -> None:
        """All of it was carried out. Raises OSError."""
        self.path.unlink(missing_ok=True)
        _sync_folder(self.path.parent)


def _whole(file: int) -> int:
    """Where the last whole line ends: a torn one behind it would spoil the next."""
    size = os.fstat(file).st_size
    return os.pread(file, size, 0).rfind(b"\n") + 1


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
