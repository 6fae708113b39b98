"""The data folder: made for its owner alone, with the one secret that lives in it.

    FAREGATE_HOME/
      faregate.db     the ledger (unless the settings put it elsewhere)
      pepper          32 random bytes that key hashes are keyed with; without it no key is known again
      spool           what calls cost while the database was away; there only then
      admin.sock      where a running server takes its owner's commands

The rule: nothing is overwritten. A pepper that cannot be read as one is refused, never replaced: replacing it would
turn every key that was issued into an unknown one.
"""

import os
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import quote

from faregate.settings import Settings, SettingsError

PEPPER_BYTES: Final = 32


def prepare(settings: Settings) -> None:
    """Make the folders that a gateway writes to. Raises SettingsError when one cannot be written."""
    folders = [(settings.home, "FAREGATE_HOME")]
    if isinstance(settings.database, Path):
        folders.append((settings.database.parent, "FAREGATE_DATABASE_URL"))
    for folder, setting in folders:
        way_out = f"make it writable for this user, or set {setting} to a place that is"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(folder, f"cannot be made: {error.strerror}; {way_out}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _refused(folder, f"cannot be written: Permission denied; {way_out}")


def pepper(settings: Settings) -> bytes | None:
    """The secret that key hashes are keyed with; made at the first call. Raises SettingsError.

    FAREGATE_PEPPER where it is set; else the file beside an SQLite ledger. None where a shared database keeps one.
    """
    if settings.pepper is not None:
        return bytes.fromhex(settings.pepper.reveal())
    if not isinstance(settings.database, Path):
        return None
    file = settings.home / "pepper"
    try:
        if not file.exists():
            if settings.database.exists():
                raise _refused(
                    file, f"is missing, and the keys in {settings.database} cannot be known without it: restore it"
                )
            _write_once(file)
        value = file.read_bytes()
    except OSError as error:
        raise _refused(file, f"cannot be kept: {error.strerror}") from None
    if len(value) != PEPPER_BYTES:
        raise _refused(file, f"holds {len(value)} bytes in place of {PEPPER_BYTES}: restore it from a backup")
    return value


def spool(settings: Settings, node: str | None) -> Path:
    """Where settles wait while the database is away: a file of this replica's own."""
    return settings.home / ("spool" if node is None else f"spool-{quote(node, safe='')}")


def _write_once(file: Path) -> None:
    """Two processes that start together end up with one pepper: a link is made whole, and by one of them only."""
    draft = file.with_name(f"pepper.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(PEPPER_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _refused(path: Path, sentence: str) -> SettingsError:
    return SettingsError(f"{path}: {sentence}")
