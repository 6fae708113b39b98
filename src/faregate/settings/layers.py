"""Three sources, laid one over the other, and the place of every value in them.

    faregate.toml  <  FAREGATE_<SECTION>_<KEY>  <  flags

The rule: whoever reads an error can walk to the place it names: the file, the line and the key; or the variable; or
the flag.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from faregate.settings.places import Key, choices_at, did_you_mean, dotted, key_of, line_of, names_at, type_at
from faregate.settings.shape import File

SECTIONS: Final = (
    "server", "admin", "database", "catalog", "retry", "breaker", "limits", "idempotency", "batches", "log",
)  # fmt: skip
"""The sections that are one table; only these can be set from the environment or by a flag."""

FILE_BYTES_MAX: Final = 1024 * 1024


class SettingsError(Exception):
    """One line for the operator. Nothing was changed; the command ends with exit code 2."""


class Layers:
    """What the sources say together, and where each word of it came from."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._text = "" if file is None else _read(file)
        self.values: dict[str, Any] = _parse(self._text, file)
        self._origins: dict[Key, str] = {}

    def add_environment(self, environ: Mapping[str, str]) -> None:
        for variable, text in sorted(environ.items()):
            for section in SECTIONS:
                prefix = f"FAREGATE_{section.upper()}_"
                if variable.startswith(prefix) and not self._names_a_secret(variable):
                    key = (section, variable.removeprefix(prefix).lower())
                    self._origins[key] = variable
                    self._put(key, self._from_text(key, text))

    def add_flag(self, section: str, name: str, value: object) -> None:
        self._origins[section, name] = "--" + name.replace("_", "-")
        self._put((section, name), value)

    def decode(self) -> File:
        """Check the whole against its shape."""
        self._refuse_secrets()
        try:
            return msgspec.convert(self.values, type=File, strict=True)
        except msgspec.ValidationError as error:
            raise self._explained(error) from None

    def error(self, key: Key, sentence: str) -> SettingsError:
        """Say what is wrong at a key, and where that is."""
        for length in range(len(key), 0, -1):
            origin = self._origins.get(key[:length])
            if origin is None:
                continue
            return SettingsError(f"{origin}: {sentence}")
        if self.file is None:
            return SettingsError(f"{dotted(key)}: {sentence}")
        line = line_of(self._text, key)
        return SettingsError(f"{self.file}, line {line}: {dotted(key)}: {sentence}")

    def _names_a_secret(self, variable: str) -> bool:
        """Whether it is the variable that holds the admin token, by whatever name the settings give it."""
        admin = self.values.get("admin")
        named = admin.get("token_env") if isinstance(admin, dict) else None
        return variable == (named or "FAREGATE_ADMIN_TOKEN")

    def _put(self, key: tuple[str, str], value: object) -> None:
        section, name = key
        table = self.values.setdefault(section, {})
        if not isinstance(table, dict):
            raise self.error((section,), f"must be a table, [{section}]")
        table[name] = value

    def _from_text(self, key: tuple[str, str], text: str) -> object:
        """Read an environment variable as the setting's own type; a list is divided by commas."""
        declared = type_at(key)
        if declared is None:
            raise self.error(key, f"there is no setting {dotted(key)}{did_you_mean(str(key[-1]), names_at(key[:-1]))}")
        if isinstance(declared, msgspec.inspect.VarTupleType):
            return [part.strip() for part in text.split(",") if part.strip()]
        if isinstance(declared, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            try:
                return msgspec.convert(
                    text, type=float if isinstance(declared, msgspec.inspect.FloatType) else int, strict=False
                )
            except msgspec.ValidationError:
                raise self.error(key, f"{text!r} is not a number") from None
        return text

    def _refuse_secrets(self) -> None:
        message = "secrets are not kept in the file: put it into an environment variable and name that in {}"
        admin = self.values.get("admin")
        if isinstance(admin, dict) and "token" in admin:
            raise self.error(("admin", "token"), message.format("admin.token_env"))
        upstreams = self.values.get("upstreams")
        for index, entry in enumerate(upstreams if isinstance(upstreams, list) else []):
            if isinstance(entry, dict) and "api_key" in entry:
                raise self.error(("upstreams", index, "api_key"), message.format("api_key_env"))

    def _explained(self, error: msgspec.ValidationError) -> SettingsError:
        sentence, _, path = str(error).partition(" - at `$")
        key = key_of(path.rstrip("`"))
        if unknown := re.search(r"unknown field `(.*)`", sentence):
            name = unknown[1]
            return self.error((*key, name), f"there is no such setting{did_you_mean(name, names_at(key))}")
        if missing := re.search(r"missing required field `(.*)`", sentence):
            return self.error(key, f"{missing[1]} is required")
        if sentence.startswith("Invalid enum value"):
            return self.error(key, self._choices(key))
        got = "" if ", got" in sentence else f", got {self._value(key)!r}"
        return self.error(key, f"{sentence[0].lower()}{sentence[1:]}{got}".replace("`", ""))

    def _value(self, key: Key) -> Any:
        value: Any = self.values
        for step in key:
            value = value[step]
        return value

    def _choices(self, key: Key) -> str:
        value = self._value(key)
        choices = choices_at(key)
        return f"{value!r} is none of {', '.join(choices)}{did_you_mean(str(value), choices)}"


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    if len(raw) > FILE_BYTES_MAX:
        raise SettingsError(f"{file}: larger than {FILE_BYTES_MAX} bytes: this is no settings file")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsError(f"{file}, line {line}: not UTF-8") from None


def _parse(text: str, file: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        sentence, _, place = str(error).partition(" (at ")
        at = re.search(r"line (\d+)", place)
        line = at[1] if at else len(text.splitlines()) or 1
        raise SettingsError(f"{file}, line {line}: {sentence[0].lower()}{sentence[1:]} (TOML)") from None
