"""Callers and what they send: each key has a habit, as applications do, and its answers have a length of their own.

The rule: everything comes from one seed. Texts are pieces of this repository's own pages and sources, English, Chinese
and code, and made-up records, cut at random; so no two prompts are alike unless a habit says so.

    short long chinese code json tools images documents     one question a call
    mixed                                                   any of these, each call another
    loop_5m loop_1h loop_bare                               an agent: 12 tools, and a conversation that grows
"""

import base64
import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
SINGLE: Final = ("short", "long", "chinese", "code", "json", "tools", "images", "documents")
LOOPS: Final = ("loop_5m", "loop_1h", "loop_bare")
HABITS: Final = (*SINGLE, "mixed", *LOOPS)
OUTPUT_SIGMA: Final = 0.25
"""How far a key's answers are from their median: two of three lie between 78 % and 128 % of it."""


class Texts(NamedTuple):
    prose: list[str]
    chinese: list[str]
    code: list[str]


def read_texts() -> Texts:
    """The repository's own lines."""
    pages = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    chinese = [page for page in pages if page.name.endswith(".zh.md")]
    prose = [page for page in pages if page not in chinese]
    code = sorted((ROOT / "src").rglob("*.py"))
    return Texts(*(
        [line for file in files for line in file.read_text().splitlines(keepends=True) if len(line) > 1]
        for files in (prose, chinese, code)
    ))  # fmt: skip


class Call(NamedTuple):
    habit: str
    document: dict[str, Any]
    output: int
    """How long the answer is, unless the cap is lower."""
    seen: bool
    """Whether the prompt begins with one that was settled before."""


class Caller:
    """One key."""

    def __init__(self, name: str, habit: str, model: str, texts: Texts, rng: random.Random) -> None:
        self.name, self.habit, self.model = name, habit, model
        self._texts, self._rng = texts, rng
        self._typical = rng.uniform(math.log(20), math.log(600))
        self._sigma = OUTPUT_SIGMA
        self._cap = rng.choice((256, 1_024, 4_096))
        self._system = self._prose(rng.choice((0, 400, 1_500, 6_000)))
        self._tools = self._make_tools(12 if habit in LOOPS else rng.randint(2, 8))
        self._loop: list[dict[str, Any]] = []
        self._turns = 0
        self.pause_ms = rng.choice((2_000, 20_000, 90_000))

    def call(self) -> Call:
        """The next call."""
        habit = self._rng.choice(SINGLE) if self.habit == "mixed" else self.habit
        output = max(1, round(math.exp(self._rng.gauss(self._typical, self._sigma))))
        if habit in LOOPS:
            seen = self._grow()
            return Call(self.habit, self._agent(habit), output, seen)
        make: Callable[[], dict[str, Any]] = getattr(self, f"_ask_{habit}")
        document = {"model": self.model, "max_tokens": self._cap, **make()}
        if self._system and "system" not in document:
            document["system"] = self._system
        return Call(self.habit, document, output, seen=False)

    # One question

    def _ask_short(self) -> dict[str, Any]:
        return _asked(self._prose(self._rng.randint(40, 900)))

    def _ask_long(self) -> dict[str, Any]:
        return _asked(self._prose(self._rng.randint(4_000, 40_000)))

    def _ask_chinese(self) -> dict[str, Any]:
        return _asked(self._cut(self._texts.chinese, self._rng.randint(40, 4_000)))

    def _ask_code(self) -> dict[str, Any]:
        code = self._cut(self._texts.code, self._rng.randint(800, 16_000))
        return _asked([_text("Review this change.\n"), _text(f"```python\n{code}```")])

    def _ask_json(self) -> dict[str, Any]:
        return _asked(json.dumps([self._record() for _ in range(self._rng.randint(3, 60))]))

    def _make_tools(self, count: int) -> list[dict[str, Any]]:
        return [
            {
                "name": f"{self._rng.choice(('read', 'find', 'edit', 'list'))}_{index}",
                "description": self._prose(self._rng.randint(100, 900)),
                "input_schema": {
                    "type": "object",
                    "properties": {
                        f"field_{at}": {"type": "string", "description": self._prose(60)}
                        for at in range(self._rng.randint(1, 7))
                    },
                },
            }
            for index in range(count)
        ]

    def _ask_tools(self) -> dict[str, Any]:
        return {"tools": self._tools, **_asked(self._prose(self._rng.randint(40, 2_000)))}

    def _ask_images(self) -> dict[str, Any]:
        pictures = [self._picture() for _ in range(self._rng.randint(1, 3))]
        return _asked([*pictures, _text(self._prose(self._rng.randint(40, 300)))])

    def _ask_documents(self) -> dict[str, Any]:
        if self._rng.random() < 0.5:
            source = {"type": "text", "media_type": "text/plain", "data": self._prose(self._rng.randint(2_000, 20_000))}
        else:
            pages = self._rng.randint(1, 9)
            data = base64.b64encode(b"%PDF-1.7\n" + self._rng.randbytes(pages * 3_000)).decode()
            source = {"type": "base64", "media_type": "application/pdf", "data": data}
        return _asked([{"type": "document", "source": source}, _text(self._prose(self._rng.randint(40, 300)))])

    # A conversation that grows

    def _grow(self) -> bool:
        """One turn more, or a new conversation. Whether the call before this one had its prefix."""
        if not self._loop or self._turns <= 0:
            self._turns = self._rng.randint(6, 24)
            self._loop = [_said("user", [_text(self._prose(self._rng.randint(200, 3_000)))])]
            return False
        self._turns -= 1
        number = f"toolu_{len(self._loop):04d}{self._rng.randrange(16**12):012x}"
        words = _text(self._prose(self._rng.randint(30, 400)))
        asked = {"type": "tool_use", "id": number, "name": self._tools[0]["name"], "input": self._record()}
        kind = self._rng.choice(("prose", "code", "json"))
        size = self._rng.randint(100, 6_000)
        told = (
            json.dumps([self._record() for _ in range(size // 150 + 1)])
            if kind == "json"
            else (self._cut(getattr(self._texts, kind), size))
        )
        result = {"type": "tool_result", "tool_use_id": number, "content": told}
        self._loop += [_said("assistant", [words, asked]), _said("user", [result])]
        return True

    def _agent(self, habit: str) -> dict[str, Any]:
        messages = list(self._loop)
        system = _text(self._system or "You are an agent.\n")
        if habit != "loop_bare":
            hour = {"type": "ephemeral", "ttl": "1h"} if habit == "loop_1h" else {"type": "ephemeral"}
            system = {**system, "cache_control": hour}
            *before, last = messages[-1]["content"]
            marked = {**last, "cache_control": {"type": "ephemeral"}}
            messages[-1] = {**messages[-1], "content": [*before, marked]}
        return {
            "model": self.model, "max_tokens": 8_192, "system": [system], "tools": self._tools, "messages": messages,
        }  # fmt: skip

    # Pieces

    def _prose(self, size: int) -> str:
        return self._cut(self._texts.prose, size) if size else ""

    def _cut(self, lines: list[str], size: int) -> str:
        at, found, length = self._rng.randrange(len(lines)), list[str](), 0
        while length < size:
            line = lines[at % len(lines)][: size - length]
            found.append(line)
            length += len(line)
            at += 1 if self._rng.random() < 0.9 else self._rng.randrange(len(lines))
        return "".join(found)

    def _record(self) -> dict[str, Any]:
        rng = self._rng
        return {
            "id": rng.randrange(10**7), "user": f"u-{rng.randrange(16**6):06x}", "ok": rng.random() < 0.5,
            "amount": round(rng.uniform(0, 900), 2),
            "at": f"2026-11-{rng.randint(1, 30):02d}T08:{rng.randint(0, 59):02d}",
            "note": rng.choice(self._texts.prose)[: rng.randint(8, 60)].strip(),
        }  # fmt: skip

    def _picture(self) -> dict[str, Any]:
        width, height = self._rng.randint(80, 2_400), self._rng.randint(80, 2_400)
        head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
        data = base64.b64encode(head + self._rng.randbytes(self._rng.randint(60, 6_000))).decode()
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text or " "}


def _said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _asked(content: Any) -> dict[str, Any]:
    return {"messages": [_said("user", content)]}
