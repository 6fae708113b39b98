"""What the story needs of the world outside: the caller at the door, and the gateway that was wired up for it."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from faregate.core.catalog import Catalog
from faregate.core.dispatch import Dispatch
from faregate.core.errors import GatewayError
from faregate.core.estimate import Estimator
from faregate.core.money import Nanos
from faregate.core.routing import Retry, Routes
from faregate.proxy.drain import Drains
from faregate.proxy.record import CallRecord
from faregate.store.port import Keys, Ledger, Prices, Records
from faregate.upstreams.port import Upstream

Headers = list[tuple[bytes, bytes]]


class Asker(Protocol):
    """One request, from the side of who asked, as far as what is free needs it."""

    request_id: str
    address: str

    def header(self, name: bytes) -> str | None:
        """A request header by its name in lower case; the last one where it was sent twice, but all of
        `anthropic-beta`, which is a list."""

    async def body(self) -> bytes:
        """The whole body. Raises BodyTooLarge, BodyTimeout, UnsupportedMedia, and CallerGone."""


class Caller(Asker, Protocol):
    """Who asked for a call. Sending to a caller who has gone is no error: it goes nowhere."""

    arrived: float
    """The event loop's time at the first byte, in seconds."""
    gone: bool
    """Whether the caller has hung up, as far as we know."""

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call back once when the caller hangs up; at once if that has happened."""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""

    async def start(self, headers: Headers) -> None:
        """Begin a stream (200)."""

    def send(self, data: bytes) -> None:
        """Send a part of the stream."""

    @property
    def keeps_up(self) -> bool:
        """Whether the caller takes what is sent; otherwise wait for `drain` before more is."""

    async def drain(self) -> None:
        """Wait while the caller does not keep up and has not gone."""

    async def end(self, data: bytes) -> None:
        """Send the last part and end the stream."""

    async def refuse(self, error: GatewayError) -> None:
        """Answer with an error; in a stream that has begun, with one `event: error` that ends it."""


class Observer(Protocol):
    """Who is told of calls: metrics and logs. Never of what was said in them."""

    def reserved(self, held: int) -> None:
        """A hold was taken, in nanodollars."""

    def finished(self, record: CallRecord) -> None:
        """A request to /v1/messages has ended."""

    def trouble(self, request_id: str, what: str, error: BaseException | None) -> None:
        """Something happened that the operator should read: a sentence, and the exception behind it."""


class Keeping(msgspec.Struct, frozen=True):
    """Which answers are kept for a repeat of their call: none, unless the operator says so."""

    kept_ms: int = 0
    bytes_max: int = 0


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a request meets on its way. Wired once, at start."""

    keys: Keys
    prices: Prices
    ledger: Ledger
    records: Records
    catalog: Catalog
    upstreams: Mapping[str, Upstream]
    routes: Routes
    retry: Retry
    abandon_budget: Nanos | None
    """What a key's callers may leave unpaid in an hour by hanging up; None for any amount."""
    estimator: Estimator
    now_ms: Callable[[], int]
    """Unix milliseconds."""
    chance: Callable[[], float]
    """In [0, 1): jitter."""
    new_id: Callable[[str], str]
    """A fresh id with this prefix."""
    observer: Observer
    keeping: Keeping = Keeping()
    dispatch: Dispatch = msgspec.field(default_factory=Dispatch)
    """What is known of the upstreams: who is up, who is warm."""
    drains: Drains = msgspec.field(default_factory=Drains)
    """What is read on after its caller has left."""
