"""The log: one line per request and per event, for a person on a terminal, as JSON for everything else.

    200 claude-haiku-4-5  in 12 out 34  46 credits  first 12 ms  total 80 ms  msg_...

The rule: a level that is off formats nothing, and nothing that was said in a call, nor any key, has a way in: a
request's line is made from its record alone. Libraries that log by the standard module come out in the same form.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from faregate.core.money import show_credits
from faregate.proxy.record import CallRecord

Format = Literal["auto", "human", "json"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class RequestLog:
    """Writes the line of a request: info when it went well or was refused, error when ours or upstream's to mend.

    It is on the hot path, so it writes straight to the stream: a structlog event costs more than the line itself.
    """

    def __init__(self, out: TextIO, *, human: bool, level: Level) -> None:
        self._out = out
        self._human = human
        self._level = _LEVELS[level]

    def request(self, record: CallRecord) -> None:
        level = logging.ERROR if record.status >= 500 or record.error_code in _TROUBLE else logging.INFO
        if level < self._level:
            return
        line = human_line(record) if self._human else json_line(record, datetime.now(UTC), level)
        self._out.write(line + "\n")
        self._out.flush()


_TROUBLE: Final = frozenset({"internal", "upstream_error"})
"""Codes that are errors even under the status 200 of a stream that had begun."""


def set_up_logging(form: Format, level: Level, stream: TextIO | None = None) -> RequestLog:
    """Send everything that is logged to one stream (stderr), and give the request log. Called once, at start."""
    out = sys.stderr if stream is None else stream
    human = form == "human" or (form == "auto" and out.isatty())
    shared: list[Processor] = [structlog.processors.add_log_level, structlog.processors.format_exc_info]
    last: list[Processor] = [_plain] if human else [structlog.processors.TimeStamper(fmt="iso", utc=True), _as_json]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging(out, [*shared, *last], level)
    return RequestLog(out, human=human, level=level)


def human_line(record: CallRecord) -> str:
    """Say what a call was and what it cost in one line that fits a terminal."""
    parts = [f"{record.status} {record.model or '-'}"]
    if record.error_code is not None:
        parts.append(record.error_code)
    usage = record.usage
    if usage.input_total or usage.output:
        cached = f" (cached {usage.cache_read})" if usage.cache_read else ""
        parts.append(f"in {usage.input_total}{cached} out {usage.output}")
    if record.held or record.charged:  # What a batch was held for is not of this moment.
        parts.append(f"{show_credits(record.charged)} credits")
    if record.replayed:
        parts.append("replayed")
    if record.outcome not in (None, "ok", record.error_code):
        parts.append(str(record.outcome))
    if record.first_event_ms is not None:
        parts.append(f"first {record.first_event_ms:.0f} ms")
    parts.append(f"total {record.total_ms:.0f} ms")
    parts.append(record.charge_id or record.request_id)
    return "  ".join(parts)


def json_line(record: CallRecord, at: datetime, level: int) -> str:
    """Write the same for machines. Amounts are credit strings; what was never known is null or left out."""
    line: dict[str, Any] = {
        "event": "request",
        "level": "error" if level >= logging.ERROR else "info",
        "timestamp": at,
        "status": record.status,
        "model": record.model,
        "outcome": record.outcome,
        "error_code": record.error_code,
        "request_id": record.request_id,
        "charge_id": record.charge_id,
        "wallet_id": record.wallet_id,
        "key_id": record.key_id,
        "stream": record.stream,
        "upstream": record.upstream,
        "attempts": len(record.attempts),
        "first_event_ms": _rounded(record.first_event_ms),
        "total_ms": _rounded(record.total_ms),
        "added_ms": _rounded(record.added_ms),
    }
    if record.replayed:
        line["replayed"] = True
    if record.dropped:
        line["dropped"] = record.dropped
    if record.held or record.charged:
        line["usage"] = record.usage
        line["charged"] = show_credits(record.charged)
    if record.held:
        line["held"] = show_credits(record.held)
        line["estimated"] = show_credits(record.estimated)
    return msgspec.json.encode(line).decode()


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 2)


def _as_json(_: object, __: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _plain(_: object, level: str, event: EventDict) -> str:
    words = [str(event.pop("event", ""))]
    trace = event.pop("exception", None)
    event.pop("level", None)
    if level not in ("info", "debug"):
        words.insert(0, f"{level}:")
    words += [f"{name}={value}" for name, value in event.items() if not name.startswith("_")]
    return " ".join(words) + (f"\n{trace}" if trace else "")


def _adopt_standard_logging(out: TextIO, processors: list[Processor], level: Level) -> None:
    """Give the libraries' own log lines our form; below a warning they are nobody's business."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors[:-1],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, processors[-1]],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
