"""Tokenizers that are not the gateway's byte rule: what an upstream of the replay counts by.

    Vocabulary   byte-pair encoding with the vocabulary and merges of the offline model's own file (GGUF)
    Dense        made up, and cut very differently: 1.5 tokens a Chinese character, a token for each mark of JSON

Both count line by line and remember each line, since traffic says the same again and again.
"""

import itertools
import re
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class Tokenizer(Protocol):
    name: str

    def count(self, text: str) -> int:
        """The tokens of a text."""


class Vocabulary:
    name = "vocabulary"

    def __init__(self, file: Path) -> None:
        about = read_gguf(file)
        pairs = (tuple(merge.split(" ", 1)) for merge in about["tokenizer.ggml.merges"])
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._letters = _byte_letters()
        self._word = lru_cache(200_000)(self._word_tokens)
        self._line = lru_cache(100_000)(self._line_tokens)

    def count(self, text: str) -> int:
        return sum(map(self._line, text.splitlines(keepends=True)))

    def _line_tokens(self, line: str) -> int:
        return sum(map(self._word, _WORDS.findall(line)))

    def _word_tokens(self, word: str) -> int:
        parts = [self._letters[byte] for byte in word.encode()]
        none = len(self._ranks)
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, none) for pair in itertools.pairwise(parts)]
            best = min(ranks)
            if best == none:
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return len(parts)


class Dense:
    name = "dense"

    def __init__(self) -> None:
        self._line = lru_cache(100_000)(_dense_halves)

    def count(self, text: str) -> int:
        return (sum(map(self._line, text.splitlines(keepends=True))) + 1) // 2


_WORDS: Final = re.compile(r"\d|'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]{1,64}| ?[^\s\w]{1,32}|_+|\s+(?!\S)|\s+")
"""As the offline model's tokenizer cuts a text before it looks for pairs: digits stand alone."""
_SHREDS: Final = re.compile(r"[a-z]+|[A-Z]+|[0-9]{1,3}|\s+|[^\x00-\x7f]|.", re.DOTALL)
CHINESE: Final = 0x2E80


def _dense_halves(line: str) -> int:
    """Half tokens, so that 1.5 is a whole number."""
    halves = 0
    for shred in _SHREDS.findall(line):
        first = shred[0]
        if ord(first) >= CHINESE:
            halves += 3
        elif "a" <= first <= "z":
            halves += 2 * -(-len(shred) // 6)
        elif "A" <= first <= "Z":
            halves += 2 * -(-len(shred) // 3)
        elif not first.isspace() or len(shred) > 1 or first == "\n":
            halves += 2
    return halves


def read_gguf(file: Path) -> dict[str, Any]:
    """What a GGUF file says of its model, without the weights. Raises ValueError for another file."""
    data = file.read_bytes()[: 16 * 1024 * 1024]
    if data[:4] != b"GGUF":
        raise ValueError(f"{file} is not a GGUF file")
    reader = _Reader(data)
    _, _, pairs = reader.scalar("I"), reader.scalar("Q"), reader.scalar("Q")
    return {reader.string(): reader.value(reader.scalar("I")) for _ in range(pairs)}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 4

    def scalar(self, form: str) -> Any:
        found = struct.unpack_from(f"<{form}", self._data, self._at)[0]
        self._at += struct.calcsize(f"<{form}")
        return found

    def string(self) -> str:
        length = self.scalar("Q")
        self._at += length
        return self._data[self._at - length : self._at].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, length = self.scalar("I"), self.scalar("Q")
            return [self.value(inner) for _ in range(length)]
        return self.scalar(_SCALARS[kind])


def _byte_letters() -> dict[int, str]:
    """GPT-2's letters for bytes: printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + at) for at, byte in enumerate(others)}
