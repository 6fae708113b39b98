"""What one walk over a request counts: the facts about its content that money depends on.

The rule: it only grows. A mark that is not understood is Malformed, never left uncounted, since a cache write that was
not foreseen costs up to twice what was held for it.
"""

from typing import Any, Final

from faregate.wire.shape import Malformed, one_of

MARKS_MAX: Final = 4
"""Cache breakpoints in one request, wherever they stand."""

TTLS: Final = ("5m", "1h")


class Tally:
    """Mutable while the walk goes on; read once after it."""

    __slots__ = (
        "beta",
        "cache_1h",
        "cache_5m",
        "configured",
        "documents",
        "files",
        "images",
        "marks",
        "media_bytes",
        "messages",
        "role",
        "server_run",
        "strict",
        "tool_names",
        "tools",
        "toolsets",
        "typed_tools",
        "unbounded",
    )

    def __init__(self, *, strict: bool, beta: bool) -> None:
        self.strict = strict
        """Whether the rules of the 2026-10-21 version hold."""
        self.beta = beta
        """Whether the caller asked for betas: block types we do not know are then upstream's to judge."""
        self.role = ""
        """Of the message that is being read."""
        self.messages = 0
        self.images = 0
        self.documents = 0
        self.files = False
        """Whether content is named by the id of a file that the provider keeps."""
        self.media_bytes = 0
        self.marks = 0
        self.cache_5m = False
        self.cache_1h = False
        self.unbounded = False
        self.configured: list[int] = []
        """The system messages that carry an `output_config` of their own."""
        self.tools = 0
        self.typed_tools = 0
        """Tools whose description the provider writes."""
        self.toolsets = False
        """Whether an entry stands for several tools whose names are not written out."""
        self.tool_names: set[str] = set()
        self.server_run: list[tuple[str, str]] = []
        """Tools that the provider would run: path and type."""

    def mark(self, value: Any) -> None:
        """Count a `cache_control`; null is none."""
        if value is None:
            return
        if type(value) is not dict:
            raise Malformed("Input should be an object")
        if value.get("type") != "ephemeral":
            one_of(value.get("type"), ("ephemeral",), "type")
        ttl = value.get("ttl", "5m")
        if ttl not in TTLS:
            one_of(ttl, TTLS, "ttl")
        if ttl == "1h":
            self.cache_1h = True
        else:
            self.cache_5m = True
        self.marks += 1
        if self.marks > MARKS_MAX:
            raise Malformed(f"A maximum of {MARKS_MAX} blocks with cache_control may be provided")
