"""The API beside the data plane: quotes, counts, models, prices, receipts, usage, wallet, health and metrics.

Small reads, so a framework may route them. Each endpoint gets a caller and gives a JSON value; the one error renderer
stands around all of them, and around what is not here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from faregate.core.errors import GatewayError, Internal, MethodNotAllowed, NotFound, NotReady
from faregate.core.model import model_info
from faregate.core.money import show_credits
from faregate.core.shown import ReceiptView
from faregate.edge.asgi import AsgiCaller
from faregate.edge.batches import BatchDesk
from faregate.edge.errors import render
from faregate.edge.intake import Intake
from faregate.edge.query import NUL, limit_of, position_of, text_of, time_of
from faregate.edge.views import PriceView
from faregate.proxy import entry, free
from faregate.proxy.port import Gateway
from faregate.proxy.ride import CLIENT_CLOSED
from faregate.proxy.verdict import CallerGone

Endpoint = Callable[[AsgiCaller, Request], Awaitable[Any]]


class Api:
    """The endpoints, over one gateway."""

    def __init__(
        self,
        gate: Gateway,
        intake: Intake,
        *,
        metrics: Callable[[], bytes],
        metrics_type: str,
        batches: BatchDesk | None = None,
    ) -> None:
        self._gate = gate
        self._intake = intake
        self._batches = batches
        self._metrics = metrics
        self._metrics_type = metrics_type

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            self._route("/", self.root, "GET"),
            self._route("/v1/messages/quote", self.quote, "POST"),
            self._route("/v1/messages/count_tokens", self.count_tokens, "POST"),
            self._route("/v1/messages", self.quote, "POST"),  # The door serves it; here it only names its method.
            self._route("/v1/chat/completions", self.quote, "POST"),
            *self._batch_routes(),
            self._route("/v1/models", self.models, "GET"),
            self._route("/v1/models/{model_id}", self.model, "GET"),
            self._route("/v1/pricing", self.pricing, "GET"),
            self._route("/v1/receipts/{message_id}", self.receipt, "GET"),
            self._route("/v1/usage", self.usage, "GET"),
            self._route("/v1/wallet", self.wallet, "GET"),
            self._route("/healthz", self.alive, "GET"),
            self._route("/readyz", self.ready, "GET"),
            self._route("/metrics", self.metrics, "GET"),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: self._not_here, Exception: self._broken})
        app.router.redirect_slashes = False  # A redirect would be the one answer that is no JSON of ours.
        return app

    def _batch_routes(self) -> list[Route]:
        desk = self._batches
        if desk is None:
            return []

        async def page(caller: AsgiCaller, request: Request) -> dict[str, Any]:
            return await desk.page(caller, request, limit_of(request.query_params.get("limit")))

        path = "/v1/messages/batches"
        return [
            self._route(path, desk.create, "POST", desk.intake),
            self._route(path, page, "GET"),
            self._route(path + "/{batch_id}", desk.find, "GET"),
            self._route(path + "/{batch_id}", desk.delete, "DELETE"),
            self._route(path + "/{batch_id}/cancel", desk.cancel, "POST"),
            self._route(path + "/{batch_id}/results", desk.results, "GET"),
        ]

    async def quote(self, caller: AsgiCaller, _: Request) -> dict[str, Any]:
        return await free.quote(self._gate, caller)

    async def count_tokens(self, caller: AsgiCaller, _: Request) -> dict[str, Any]:
        return {"input_tokens": await free.count_tokens(self._gate, caller)}

    async def models(self, caller: AsgiCaller, request: Request) -> dict[str, Any]:
        """Anthropic's list: `limit`, `after_id`, `before_id` (an alias will do), `lifecycle[]`. By one key more it is
        OpenAI's too."""
        await entry.authenticate(self._gate, caller)
        query = request.query_params
        wanted = set(query.getlist("lifecycle[]") + query.getlist("lifecycle"))
        models = [m for m in self._gate.catalog.models() if not wanted or m.lifecycle in wanted]
        ids = [model.id for model in models]
        limit = limit_of(query.get("limit"))
        start, end = 0, len(ids)
        if (after := query.get("after_id")) is not None:
            start = position_of(ids, self._model_id(after), otherwise=end) + 1
        if (before := query.get("before_id")) is not None:
            end = position_of(ids, self._model_id(before), otherwise=0)
            start = max(start, end - limit)
        page = models[start : min(end, start + limit)]
        more = start > 0 if before is not None and after is None else start + len(page) < end
        return {
            "data": [model_info(model) for model in page],
            "has_more": more,
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "object": "list",
        }

    async def model(self, caller: AsgiCaller, request: Request) -> dict[str, Any]:
        await entry.authenticate(self._gate, caller)
        model = self._gate.catalog.find(request.path_params["model_id"])
        if model is None:
            raise NotFound(f"model: {request.path_params['model_id'][:100]}", code="model_not_found")
        return model_info(model)

    async def pricing(self, _: AsgiCaller, __: Request) -> dict[str, Any]:
        """Every version with its dates; no key needed."""
        now_ms, data = self._gate.now_ms(), []
        for version in self._gate.prices.versions():
            current = self._gate.prices.price(version.model, now_ms)
            in_force = current is not None and current.id == version.id
            data.append({**msgspec.to_builtins(PriceView.of(version)), "in_force": in_force})
        return {"unit": "USD per million tokens", "credits_per_usd": 1_000_000, "data": data}

    async def receipt(self, caller: AsgiCaller, request: Request) -> ReceiptView:
        key = await entry.authenticate(self._gate, caller)
        message_id = request.path_params["message_id"]
        receipt = None if NUL in message_id else await self._gate.records.receipt(key.wallet_id, message_id)
        if receipt is None:
            raise NotFound(f"receipt: {message_id[:100]} is not a call of this wallet")
        return ReceiptView.of(receipt)

    async def usage(self, caller: AsgiCaller, request: Request) -> dict[str, Any]:
        """The key's own calls, newest first: `limit`, `after_id`, `model`, `since`, `until` (RFC 3339)."""
        key = await entry.authenticate(self._gate, caller)
        query = request.query_params
        model = text_of("model", query.get("model"))
        page = await self._gate.records.usage(
            key.wallet_id,
            key_id=key.id,
            model=None if model is None else self._model_id(model),
            since_ms=time_of("since", query.get("since")),
            until_ms=time_of("until", query.get("until")),
            before=text_of("after_id", query.get("after_id")),
            limit=limit_of(query.get("limit")),
        )
        calls = [ReceiptView.of(receipt) for receipt in page.receipts]
        return {
            "data": calls,
            "has_more": page.next is not None,
            "first_id": calls[0].id if calls else None,
            "last_id": calls[-1].id if calls else None,
        }

    async def wallet(self, caller: AsgiCaller, _: Request) -> dict[str, Any]:
        key = await entry.authenticate(self._gate, caller)
        wallet = await self._gate.records.wallet(key.wallet_id)
        if wallet is None:
            raise NotReady("The wallet of this key cannot be read.", code="database_unavailable")
        left = await self._gate.records.spent(key, self._gate.now_ms())
        caps = ("quota", "spend_5h", "spend_1d", "spend_7d")
        rates = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "concurrency")
        return {
            "balance": show_credits(wallet.posted),
            "held": show_credits(wallet.held),
            "available": show_credits(wallet.available),
            "key": {
                "id": key.id,
                "name": key.name,
                **{name: _credits_or_none(getattr(key, name)) for name in caps},
                "remaining": {name: show_credits(amount) for name, amount in left.items()},
                **{name: getattr(key, name) for name in rates},
            },
        }

    async def root(self, _: AsgiCaller, __: Request) -> dict[str, Any]:
        """Some clients knock (HEAD) before they speak."""
        return {"name": "faregate", "api": "/v1/messages"}

    async def alive(self, _: AsgiCaller, __: Request) -> dict[str, Any]:
        return {"status": "ok"}

    async def ready(self, _: AsgiCaller, __: Request) -> dict[str, Any]:
        """Whether a call sent now has a chance: the database takes a write, and an upstream can be reached. One that
        answers with errors is asked all the same, so a balancer need not look elsewhere."""
        now_s, dispatch = asyncio.get_running_loop().time(), self._gate.dispatch
        running = [name for name, upstream in self._gate.upstreams.items() if upstream.healthy()]
        upstreams = {name: name in running and dispatch.is_up(name, now_s) for name in self._gate.upstreams}
        breakers = {name: dispatch.state(name, now_s) for name in upstreams}
        if not await self._gate.records.writable():
            raise NotReady("The database does not take a write.", code="database_unavailable")
        if not any(dispatch.is_reachable(name, now_s) for name in running):
            raise NotReady("No upstream is up.", details={"upstreams": upstreams, "breakers": breakers})
        return {"status": "ready", "database": "writable", "upstreams": upstreams, "breakers": breakers}

    async def metrics(self, _: AsgiCaller, __: Request) -> Response:
        return Response(self._metrics(), media_type=self._metrics_type)

    def _model_id(self, name: str) -> str:
        """Receipts and lists name a model by its id, whatever alias it was asked for by."""
        model = self._gate.catalog.find(name)
        return model.id if model is not None else name

    def _route(self, path: str, endpoint: Endpoint, method: str, intake: Intake | None = None) -> Route:
        async def respond(request: Request) -> Response:
            caller = self._caller(request, intake)
            try:
                value = await endpoint(caller, request)
            except GatewayError as error:
                return _rendered(error, caller.request_id)
            except CallerGone:
                return Response(status_code=CLIENT_CLOSED)  # Nobody reads it.
            except Exception as error:  # Past here the server would close the connection behind its answer.
                return await self._broken(request, error)
            if isinstance(value, Response):
                return value
            headers = {"request-id": caller.request_id}
            return Response(msgspec.json.encode(value), media_type="application/json", headers=headers)

        return Route(path, respond, methods=[method])

    def _caller(self, request: Request, intake: Intake | None) -> AsgiCaller:
        return AsgiCaller(request.scope, request.receive, intake or self._intake, self._gate.new_id("req_"))

    async def _not_here(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path[:200]
        refusal: GatewayError = NotFound(f"There is nothing at {path}.")
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            message = f"{path} takes {allowed}, not {request.method[:20]}."
            refusal = MethodNotAllowed(message, headers=[(b"allow", allowed.encode())])
        return _rendered(refusal, self._gate.new_id("req_"))

    async def _broken(self, request: Request, error: Exception) -> Response:
        request_id = self._gate.new_id("req_")
        self._gate.observer.trouble(request_id, "a request failed by a fault of the gateway", error)
        return _rendered(Internal("Something went wrong in the gateway."), request_id)


def _rendered(error: GatewayError, request_id: str) -> Response:
    status, headers, body = render(error, request_id)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def _credits_or_none(nanos: int | None) -> str | None:
    return None if nanos is None else show_credits(nanos)
