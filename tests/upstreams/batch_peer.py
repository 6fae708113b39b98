"""A peer on loopback that has batches as Anthropic's API has: made, asked after, canceled, and read back as JSON lines.

Method: a script for the scripted server. A batch is processed for some polls; its results come in the opposite order
of its requests, under the names that they were given, and what it bills is in its log.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from faregate.upstreams.script import Play, Seen, failure, plain
from faregate.upstreams.scripted_server import ScriptedServer

PATH = "/v1/messages/batches"
MOMENT = "2027-01-01T00:00:00Z"

Result = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Of a custom id and its params: what became of it."""


def succeeded(message: dict[str, Any]) -> dict[str, Any]:
    return {"type": "succeeded", "message": message}


def errored(kind: str, message: str) -> dict[str, Any]:
    return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": message}}}


class Kept(msgspec.Struct):
    requests: list[dict[str, Any]]
    polls: int
    canceled: bool = False


class BatchPeer:
    """The script of a server, `server` where no other is made. /v1/messages is answered by `calls`."""

    def __init__(self, result: Result, *, polls: int = 2, calls: Play | None = None) -> None:
        self.result = result
        self.polls = polls
        self.calls = calls
        self.batches: dict[str, Kept] = {}
        self.refusals: list[Play] = []
        """In place of making a batch, in turn."""
        self.reads: list[Play] = []
        """In place of results, in turn."""
        self.after_taking: list[Play] = []
        """Answers to a batch that was taken all the same, in turn."""
        self.billed: list[str] = []
        """The custom ids of what succeeded, each time that it did."""
        self.asked: list[Seen] = []
        self.server = ScriptedServer(self)

    def __call__(self, seen: Seen) -> Play | None:
        self.asked.append(seen)
        if not seen.path.startswith(PATH):
            return self.calls
        verb = (seen.method, *seen.path.removeprefix(PATH).strip("/").split("/"))
        if verb == ("POST", ""):
            return self._create(seen)
        kept = self.batches.get(verb[1])
        if kept is None:
            return failure(404, "not_found_error", "no such batch")
        match (verb[0], *verb[2:]):
            case ("GET",):
                kept.polls -= 1
            case ("POST", "cancel"):
                kept.canceled, kept.polls = True, 0
            case ("GET", "results"):
                return self.reads.pop(0) if self.reads else self._results(kept)
            case _:
                return failure(405, "invalid_request_error", "no such method")
        return plain(self._view(verb[1], kept))

    def _create(self, seen: Seen) -> Play:
        if self.refusals:
            return self.refusals.pop(0)
        id_ = f"msgbatch_theirs{len(self.batches)}"
        requests = seen.document["requests"]
        assert all(set(request) == {"custom_id", "params"} for request in requests)
        assert len({request["custom_id"] for request in requests}) == len(requests)
        assert not any("stream" in request["params"] for request in requests)
        self.batches[id_] = Kept(requests, self.polls)
        return self.after_taking.pop(0) if self.after_taking else plain(self._view(id_, self.batches[id_]))

    def _view(self, id_: str, kept: Kept) -> dict[str, Any]:
        ended = kept.polls <= 0
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        return {
            "id": id_, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts, "created_at": MOMENT, "expires_at": MOMENT, "ended_at": MOMENT if ended else None,
            "results_url": "http://127.0.0.1:9/elsewhere" if ended else None,
        }  # fmt: skip

    def _results(self, kept: Kept) -> Play:
        lines = []
        for request in reversed(kept.requests):
            result = {"type": "canceled"} if kept.canceled else self.result(request["custom_id"], request["params"])
            if result["type"] == "succeeded":
                self.billed.append(request["custom_id"])
            lines.append(msgspec.json.encode({"custom_id": request["custom_id"], "result": result}) + b"\n")
        # In pieces that know nothing of lines.
        whole = b"".join(lines)
        pieces = tuple(whole[at : at + 700] for at in range(0, len(whole), 700))
        return Play(frames=pieces, framing="chunked", content_type="application/x-jsonl")
