"""The callers: each makes one call after another, and notes what it saw and nothing else.

One rule: they know HTTP and SSE, and nothing of the gateway. A call that broke off is repeated where it carries an
Idempotency-Key, as a careful client would; it stays one call.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from typing import Any

import httptools

from tests.faults.books import Usage
from tests.faults.checker import Note
from tests.faults.plans import Plan

ANSWER_S_MAX = 90.0
"""A call that has not ended by then hangs, and that is a finding."""
REPEATS_MAX = 400
PAUSE_S = 0.05

Where = Callable[[], "str | None"]
"""A base URL that takes calls now; None while there is none."""


class Ear:
    """Hears an answer out: status, events, body, end."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.status = 0
        self.whole = False
        self.events: list[dict[str, Any]] = []
        self._body = b""
        self._parsed = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._body += data
        if self.streams:
            *frames, _ = self._body[self._parsed :].split(b"\n\n")
            for frame in frames:
                self._parsed += len(frame) + 2
                data = b"".join(line[5:] for line in frame.split(b"\n") if line.startswith(b"data:"))
                self.events.append(json.loads(data))

    def on_message_complete(self) -> None:
        self.whole = True

    @property
    def streams(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def document(self) -> dict[str, Any]:
        """A plain answer; empty until it is whole."""
        found: dict[str, Any] = json.loads(self._body) if self.whole and not self.streams else {}
        return found

    def of(self, kind: str) -> dict[str, Any] | None:
        return next((event for event in self.events if event["type"] == kind), None)


class Callers:
    """So many callers, at it until `finish`."""

    def __init__(self, plan: Callable[[], Plan], where: Where, key: str, *, count: int, seed: int) -> None:
        self.notes: list[Note] = []
        self.trouble: list[str] = []
        """Calls that hung, and answers that no client could read."""
        self._plan = plan
        self._where = where
        self._key = key
        self._chance = random.Random(seed)
        self._finishing = False
        self._tasks = [asyncio.create_task(self._go_on()) for _ in range(count)]

    async def finish(self) -> None:
        """Begin no further call, and wait for those under way."""
        self._finishing = True
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Leave everything as it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _go_on(self) -> None:
        while True:  # Each makes one call at least, however soon they are to finish.
            self.notes.append(await self._to_its_end(self._plan()))
            if self._finishing:
                return
            if self.notes[-1].saw == "error":
                await asyncio.sleep(PAUSE_S)  # as a client does who is told to come again

    async def _to_its_end(self, plan: Plan) -> Note:
        """One call, repeated as far as its caller may."""
        note = None
        for _ in range(REPEATS_MAX):
            base_url = self._where()
            ear = Ear()
            if base_url is None or not await self._ask(plan, base_url, ear):
                await asyncio.sleep(PAUSE_S)
                continue
            if note is not None and ear.status == 409:
                if (receipt := ear.document.get("error", {}).get("details", {}).get("receipt")) is not None:
                    return note._replace(message_id=receipt["id"])
                await asyncio.sleep(PAUSE_S)
                continue
            note = note_of(plan, ear)
            if note.saw != "cut" or note.left or plan.idempotency_key is None:
                return note
        if note is None:
            self.trouble.append(f"stuck: nobody took {plan.marker}")
        return note or Note(plan.marker, "cut", body_sha256=plan.sha256)

    async def _ask(self, plan: Plan, base_url: str, ear: Ear) -> bool:
        """Whether it was sent at all."""
        host, port = base_url.removeprefix("http://").split(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                writer.write(request(plan, host, self._key))
                await self._hear(plan, reader, ear)
        except TimeoutError:
            self.trouble.append(f"stuck: {plan.marker} was not answered within {ANSWER_S_MAX} s")
        except (httptools.HttpParserError, ValueError) as error:
            self.trouble.append(f"wrong: {plan.marker} was answered with what is no answer: {error}")
        except OSError:
            pass  # it broke off; the note says so
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return True

    async def _hear(self, plan: Plan, reader: asyncio.StreamReader, ear: Ear) -> None:
        if plan.leave_after == 0:
            await asyncio.sleep(self._chance.random() * 0.05)
            return
        while not ear.whole and (data := await reader.read(65_536)):
            ear.parser.feed_data(data)
            if plan.leave_after is not None and len(ear.events) >= plan.leave_after:
                return


def request(plan: Plan, host: str, key: str, more: str = "") -> bytes:
    """The call, byte for byte. `more` are further header lines."""
    more += f"idempotency-key: {plan.idempotency_key}\r\n" if plan.idempotency_key else ""
    return (
        f"POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n"
        f"content-type: application/json\r\ncontent-length: {len(plan.body)}\r\n{more}connection: close\r\n\r\n"
    ).encode() + plan.body


def note_of(plan: Plan, ear: Ear) -> Note:
    """What was seen, once nothing more will be."""
    note = Note(plan.marker, "cut", left=plan.leave_after is not None, body_sha256=plan.sha256)
    if ear.status >= 300:
        return note._replace(saw="error", left=False)
    start = ear.of("message_start")
    if start is not None:
        note = note._replace(message_id=start["message"]["id"])
    if ear.of("error") is not None:
        return note._replace(saw="error", left=False)
    if ear.of("message_stop") is not None:
        assert start is not None
        late = (ear.of("message_delta") or {}).get("usage", {})
        return note._replace(saw="end", left=False, usage=usage_of({**start["message"]["usage"], **late}))
    if message := ear.document:
        charged = nanos(ear.headers["x-credits-charged"])
        return note._replace(
            saw="end", left=False, message_id=message["id"], usage=usage_of(message["usage"]), charged=charged
        )
    return note


def usage_of(reported: dict[str, Any]) -> Usage:
    """The wire's names as ours."""
    written = reported["cache_creation"]
    return {
        "input": reported["input_tokens"],
        "output": reported["output_tokens"],
        "cache_read": reported["cache_read_input_tokens"],
        "cache_write_5m": written["ephemeral_5m_input_tokens"],
        "cache_write_1h": written["ephemeral_1h_input_tokens"],
    }


def nanos(credits: str) -> int:  # noqa: A002
    """A decimal string of credits, in nanodollars: our own reading of it."""
    whole, _, rest = credits.partition(".")
    return int(whole) * 1_000 + int(rest.ljust(3, "0"))
