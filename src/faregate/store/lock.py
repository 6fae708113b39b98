"""One process owns a database file, for its life: an flock on `<file>.lock` with our process id in it.

The lock goes with the process, however it ends; the file stays and means nothing by itself.
"""

import fcntl
import os
from pathlib import Path

from faregate.store.database import StoreRefused


class Lock:
    """Held from construction to `release`. Raises StoreRefused, naming the owner, when another process holds it."""

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreRefused(
                f"Cannot write in {path.parent}: {error.strerror}. "
                "Make the folder writable, or set FAREGATE_HOME to one that is."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StoreRefused(
                f"{database} is in use by process {owner}. Stop that process first, or give this one another database."
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._file)
