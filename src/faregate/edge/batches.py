"""The endpoints of batches, in Anthropic's shapes: make, list, look at, cancel, delete, and read results.

The rule: a batch belongs to a wallet, and any key of that wallet may do with it what its maker may; for every other key
there is no such batch. What `results_url` names is this gateway, as its caller reaches it.
"""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from faregate.core.access import Key
from faregate.core.batch import Batch, BatchState, line, view
from faregate.core.errors import InvalidRequest, NotFound
from faregate.edge.asgi import AsgiCaller
from faregate.edge.intake import Intake
from faregate.proxy import batch, entry
from faregate.proxy.port import Gateway
from faregate.store import port

LINES_MAX: Final = 16
"""Results read at a time: each is as long as an answer may be."""

_ID: Final = re.compile(r"msgbatch_[0-9A-Z]{26}", re.ASCII)
_HOST: Final = re.compile(r"[a-zA-Z0-9._-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?", re.ASCII)


class BatchDesk:
    """The endpoints, over one gateway. `changed` is called when the worker has something to do."""

    def __init__(
        self,
        gate: Gateway,
        batches: port.Batches,
        intake: Intake,
        *,
        changed: Callable[[], None],
        bounds: batch.Bounds,
        public_url: str = "",
    ) -> None:
        self.intake = intake
        """What a batch's own body is let in by."""
        self._gate = gate
        self._batches = batches
        self._changed = changed
        self._bounds = bounds
        self._public_url = public_url.rstrip("/")
        self._turns = batch.Turns()

    async def create(self, caller: AsgiCaller, request: Request) -> Response:
        made = await batch.create(self._gate, self._batches, caller, self._turns, bounds=self._bounds)
        self._changed()
        body = msgspec.json.encode(view(made.batch, self._base_url(request)))
        answer = Response(body, media_type="application/json", headers={"request-id": caller.request_id})
        answer.raw_headers += made.headers
        return answer

    async def page(self, caller: AsgiCaller, request: Request, limit: int) -> dict[str, Any]:
        key = await entry.authenticate(self._gate, caller)
        query = request.query_params
        cursors = {name: query.get(name) for name in ("after_id", "before_id")}
        found, more = list[Batch](), False
        # Nothing stands before or after what cannot be a batch.
        if all(cursor is None or _ID.fullmatch(cursor) for cursor in cursors.values()):
            found, more = await self._batches.page(
                key.wallet_id, after=cursors["after_id"], before=cursors["before_id"], limit=limit
            )
        base_url = self._base_url(request)
        return {
            "data": [view(one, base_url) for one in found],
            "has_more": more,
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
        }

    async def find(self, caller: AsgiCaller, request: Request) -> dict[str, Any]:
        _, found = await self._asked(caller, request)
        return view(found, self._base_url(request))

    async def cancel(self, caller: AsgiCaller, request: Request) -> dict[str, Any]:
        """Safe to repeat; of a batch that has ended it changes nothing."""
        key, found = await self._asked(caller, request)
        await self._batches.cancel(key.wallet_id, found.id, self._gate.now_ms())
        self._changed()
        again = await self._batches.find(key.wallet_id, found.id)
        return view(again or found, self._base_url(request))

    async def delete(self, caller: AsgiCaller, request: Request) -> dict[str, Any]:
        key, found = await self._asked(caller, request)
        if not await self._batches.delete(key.wallet_id, found.id, self._gate.now_ms()):
            raise InvalidRequest(
                f"{found.id} has not ended: it is {found.state.value}. Cancel it, wait until it has ended, then delete "
                "it."
            )
        return {"id": found.id, "type": "message_batch_deleted"}

    async def results(self, caller: AsgiCaller, request: Request) -> Response:
        key, found = await self._asked(caller, request)
        if found.state is not BatchState.ENDED:
            raise InvalidRequest(
                f"{found.id} has no results yet: it is {found.state.value}. Ask again when it has ended."
            )
        if found.archived_at_ms is not None:
            raise NotFound(f"The results of {found.id} are no longer kept.")
        return StreamingResponse(
            self._lines(key, found), media_type="application/x-jsonl", headers={"request-id": caller.request_id}
        )

    async def _lines(self, key: Key, found: Batch) -> AsyncIterator[bytes]:
        after = -1
        while rows := await self._batches.results(key.wallet_id, found.id, after=after, limit=LINES_MAX):
            for after, custom_id, state, result in rows:  # noqa: B007 - the last number is where to go on
                yield line(custom_id, state, result)

    async def _asked(self, caller: AsgiCaller, request: Request) -> tuple[Key, Batch]:
        key = await entry.authenticate(self._gate, caller)
        batch_id = request.path_params["batch_id"]
        found = await self._batches.find(key.wallet_id, batch_id) if _ID.fullmatch(batch_id) else None
        if found is None:
            raise NotFound(f"batch: {batch_id[:100]} is not a batch of this wallet")
        return key, found

    def _base_url(self, request: Request) -> str:
        """Where its caller reaches us. What it says of that goes back to it, and to nobody else."""
        host = request.headers.get("host", "")
        if self._public_url or _HOST.fullmatch(host) is None:
            return self._public_url
        scheme = "https" if request.headers.get("x-forwarded-proto", "").strip().lower() == "https" else "http"
        return f"{scheme}://{host}"
