"""An upstream as the story knows it: ask it once, read its answer as it comes, or cancel.

    ask = await upstream.send(request)      an Answer, or Fault
    chunk = await answer.read()             bytes as they come; b"" at the clean end; Fault when cut
    await answer.pour(sink)                 the same, each piece given to sink(piece) as it comes
    answer.cancel()                         at any time, from anywhere, twice if you like

An answer is always in Anthropic's wire format, whatever the upstream speaks: the adapter makes it so.
"""

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec


class FaultKind(enum.StrEnum):
    CONNECT = "connect"
    """Nothing was sent: refused, unreachable, TLS failed."""
    TIMEOUT = "timeout"
    """A deadline passed (first byte, idle or total)."""
    RESET = "reset"
    """The connection broke, or ended before the answer did."""
    PROTOCOL = "protocol"
    """What came is not HTTP, or is over a bound."""
    CANCELLED = "cancelled"
    """We cancelled it ourselves."""


class Fault(Exception):
    """An upstream that did not do its part. The message is for our log: it may name hosts, so never for a caller."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class CannotStart(Exception):
    """An upstream that cannot work as it is configured. The message is for the operator: what is wrong, the way out."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One call as it goes upstream."""

    document: dict[str, Any]
    """The request as parsed, with the effective `max_tokens` and without dropped parameters. Not to be changed."""
    body: bytes
    """`document` as JSON: our own serialisation."""
    model: str
    """The catalog's id of the model."""
    stream: bool
    version: str
    """`anthropic-version`."""
    beta: str | None
    """`anthropic-beta`, as it came."""
    wallet_id: str
    """For adapters whose upstream shares a cache between tenants."""
    input_guess: int = 0
    """Input tokens as the quote estimates them, for adapters whose upstream counts them only at the end."""
    on_wire: Callable[[], None] | None = None
    """Called when the request is about to be written: from here on it may cost, whether or not an answer comes."""


Sink = Callable[[bytes], bool]
"""Takes a piece of an answer as it comes; False when it wants no more for now."""


class Answer(Protocol):
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    async def read(self) -> bytes:
        """What has come since the last read, at least one byte; b"" at the clean end of the answer. Raises Fault."""

    async def pour(self, sink: Sink) -> bool:
        """Give `sink` what has come and whatever comes. True at the clean end of the answer, False when `sink` wants no
        more. Raises Fault, and what `sink` raises."""

    def cancel(self) -> None:
        """Stop it now and close its connection; a pending read raises Fault(CANCELLED). Safe to repeat.

        On an answer that was read to its end it does nothing: that connection has gone back to the pool.
        """

    def leave(self) -> None:
        """All that matters has been read. What only closes its framing may still come, in a moment, so that its
        connection serves again; anything else is as good as `cancel`."""


async def pour(answer: Answer, sink: Sink) -> bool:
    """`Answer.pour` of an answer that can only be read."""
    while piece := await answer.read():
        if not sink(piece):
            return False
    return True


class Whole:
    """An `Answer` that is already here."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def pour(self, sink: Sink) -> bool:
        return await pour(self, sink)

    def cancel(self) -> None:
        self._body = b""

    leave = cancel


class Upstream(Protocol):
    name: str
    """As configured; shown in receipts and in `details.retry`."""
    embedded: bool
    """Whether it is the offline model that we run ourselves: such answers say so in a header."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, ask: Ask) -> Answer:
        """Send it once and wait for the head of the answer (any status). Raises Fault, or errors.Unsupported or
        errors.InvalidRequest for what this upstream cannot do. `ask.on_wire` is called just before it is written.
        """

    async def count_tokens(self, ask: Ask) -> int | None:
        """Upstream's own count of the input; None where it has none. Raises as send does."""

    def redact(self, text: str) -> str:
        """What upstream said, without our key at it and its address: for text that a caller will read."""

    def healthy(self) -> bool:
        """Whether what is ours of it runs: a server or a process of its own. Of the other side the breaker knows."""


class BatchRefused(Exception):
    """An upstream did not do what was asked of its batches. The message is for our log."""

    def __init__(self, message: str, *, again: bool, asked_ms: int | None = None) -> None:
        """`again`: it may do it later, not before `asked_ms` where it says so."""
        super().__init__(message)
        self.again = again
        self.asked_ms = asked_ms


class BatchUpstream(Protocol):
    """An upstream that takes batches of its own. Each verb raises Fault and BatchRefused."""

    name: str

    def entry(self, custom_id: str, ask: Ask) -> bytes:
        """A call as a batch has it, with the name by which its result is known."""

    async def create(
        self, entries: Sequence[bytes], *, version: str, beta: str | None, on_wire: Callable[[], None]
    ) -> str:
        """Hand over calls; what upstream calls the batch. `on_wire` is called just before it is written."""

    async def has_ended(self, upstream_id: str, version: str) -> bool: ...

    async def cancel(self, upstream_id: str, version: str) -> None:
        """What has not begun there is not to begin. Safe to repeat."""

    def results(self, upstream_id: str, version: str) -> AsyncIterator[bytes]:
        """The lines of its results, in any order, as they come."""

    def redact(self, text: str) -> str:
        """As Upstream.redact."""
