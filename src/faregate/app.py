"""The gateway, wired: settings in, a running server until it is told to stop.

Everything is made here once and handed down; nothing below reads a setting or the environment.

    sockets -> data folder -> store -> upstreams -> doors -> banner ... signal ... doors -> upstreams -> store

What cannot start says so in one line before anything was changed: sockets are bound first, the ledger's file is locked
next. What stops lets the calls under way end, then closes in the opposite order.
"""

import asyncio
import contextlib
import gc
import ipaddress
import random
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TextIO

import msgspec
import structlog

try:
    import resource
except ImportError:  # Windows has no such limits.
    resource = None  # type: ignore[assignment]

from faregate.audits import audit_hourly
from faregate.batches import Worker
from faregate.core import routing
from faregate.core.breaker import Bounds
from faregate.core.budget import Allowance
from faregate.core.catalog import Catalog
from faregate.core.costs import Costs
from faregate.core.dispatch import Dispatch
from faregate.core.estimate import Estimator
from faregate.core.ids import CHANCE_BITS, ulid
from faregate.core.routing import Routes
from faregate.edge.admin import admin_app
from faregate.edge.api import Api
from faregate.edge.asgi import Door
from faregate.edge.batches import BatchDesk
from faregate.edge.desk import Desk
from faregate.edge.intake import Intake
from faregate.edge.listen import listen, listen_for_owner
from faregate.fleet import running_upstreams
from faregate.forgetting import forget_answers
from faregate.logs import set_up_logging
from faregate.opening import opened_store
from faregate.proxy.port import Gateway, Keeping
from faregate.proxy.record import CallRecord
from faregate.settings import Settings
from faregate.shipped import load_catalog
from faregate.stopping import Server, until_signalled
from faregate.store.store import Store, wall_clock
from faregate.telemetry import CONTENT_TYPE, Telemetry
from faregate.upstreams.port import Upstream
from faregate.welcome import welcome

GC_ALLOCATIONS: Final = 20_000
"""Objects between two looks of the cycle collector; Python's own 700 are passed several times in each call."""

BATCH_BODY_TIMES: Final = 10
"""As long as a call's body may take, so many times a batch's may: it is eight times as large."""

INTEGER_DIGITS_MAX: Final = sys.int_info.str_digits_check_threshold
"""Of an integer in a body: the least that the language lets one set, 640."""

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # it is read, not bound
"""A listener on every address is shown by the one that works on this machine: nobody can call 0.0.0.0."""


class Observer:
    """Telemetry, and a log line for what should not happen."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.reserved = telemetry.reserved
        self._log = structlog.get_logger()

    def finished(self, record: CallRecord) -> None:
        self._telemetry.finished(record)

    def trouble(self, request_id: str, what: str, error: BaseException | None) -> None:
        self._log.error(what, request_id=request_id, exc_info=error)


def run(settings: Settings, *, command: str) -> int:
    """Serve until SIGINT or SIGTERM. Raises Busy, SettingsError, StoreRefused, CatalogError or CannotStart before it
    serves. `command` is how this program is called from another terminal."""
    _allow_open_files()
    serving = serve(settings, command=command)
    if find_spec("uvloop") is None:  # It does not exist on every platform.
        return asyncio.run(serving)
    import uvloop  # noqa: PLC0415

    return uvloop.run(serving)


def _allow_open_files() -> None:
    """A stream is two sockets, and a process has 1,024 files unless it asks for more, for the sake of programs that use
    select()."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):  # Some systems have a limit beside that they do not tell of.
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(settings: Settings, *, command: str = "faregate", out: TextIO | None = None) -> int:
    """Serve until a signal."""
    # Replicas may share a data folder; on their database, a command of the owner is one more client.
    alone = isinstance(settings.database, Path)
    with contextlib.ExitStack() as sockets:
        public = sockets.enter_context(listen(settings.server.host, settings.server.port, setting="server"))
        admin = None
        if settings.admin_token is not None:
            admin = sockets.enter_context(listen(settings.admin.host, settings.admin.port, setting="admin"))
        async with gateway(settings, port=public.getsockname()[1]) as running:
            drain_s = settings.server.drain_s
            servers = [Server(running.door, public, drain_s=drain_s)]
            if alone:
                owner = sockets.enter_context(listen_for_owner(settings.socket))
                servers.append(Server(admin_app(running.desk, token=None), owner, drain_s=drain_s))
            if admin is not None:
                servers.append(Server(admin_app(running.desk, token=settings.admin_token), admin, drain_s=drain_s))
            try:
                with until_signalled(servers, running.door, running.gate.drains, running.worker.runs, drain_s=drain_s):
                    serving = asyncio.gather(*(server.serve() for server in servers))
                    model = running.gate.catalog.models()[0].id
                    await welcome(
                        running.desk,
                        settings,
                        base_url=base_url(public),
                        model=model,
                        command=command,
                        out=out or sys.stdout,
                    )
                    _settle_memory()
                    await serving
                    await running.worker.close(drain_s - running.door.stopping_s)
                    await running.gate.drains.close(drain_s - running.door.stopping_s)
            finally:
                if alone:
                    settings.socket.unlink(missing_ok=True)
    return 0


def _settle_memory() -> None:
    """What is there now stays: the collector need not walk it again for every few hundred objects of a call.

    Nothing of a call is a cycle, so it frees by itself; measured, a twentieth of a call's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)


class Running(msgspec.Struct, frozen=True):
    """A wired gateway, not yet listening."""

    gate: Gateway
    door: Door
    desk: Desk
    store: Store
    worker: Worker


@contextlib.asynccontextmanager
async def gateway(settings: Settings, *, port: int = 0) -> AsyncIterator[Running]:
    """Everything behind the sockets: opened, started, and closed in the opposite order. `port` is where it listens."""
    catalog = load_catalog([Path(file) for file in settings.catalog.files]).with_aliases(
        {route.model: route.aliases for route in settings.routes}, source="routes"
    )
    # Reading an integer takes time in the square of its length: at the default of 4300 digits a body holds us up for
    # five seconds.
    sys.set_int_max_str_digits(INTEGER_DIGITS_MAX)
    telemetry = Telemetry(set_up_logging(settings.log.format, settings.log.level))
    async with (
        opened_store(settings, catalog.prices(), port=port, telemetry=telemetry) as store,
        running_upstreams(settings) as upstreams,
    ):
        costs = Costs(settings.costs, catalog.prices(), models=lambda name: _id(catalog, name))
        gate = _gateway(settings, catalog, store, telemetry, upstreams)
        telemetry.upstreams.watch(gate.dispatch, list(upstreams), costs=costs)
        log = structlog.get_logger()
        worker = Worker(gate, store.batches, store.office.key_find, concurrency=settings.batches.concurrency, log=log)
        door = _door(settings, gate, telemetry, store, worker)
        working = asyncio.create_task(worker.work(lambda: not door.stopping_s))
        beside = [
            asyncio.create_task(audit_hourly(store.office, audited=telemetry.audited, log=log)),
            asyncio.create_task(forget_answers(store.records, now_ms=wall_clock, log=log)),
        ]
        try:
            yield Running(gate, door, _desk(store, catalog, costs), store, worker)
            await door.quiet()
        finally:
            await worker.close(0)
            await asyncio.wait([working])
            await gate.drains.close(0)
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)


def _gateway(
    settings: Settings, catalog: Catalog, store: Store, telemetry: Telemetry, upstreams: Mapping[str, Upstream]
) -> Gateway:
    return Gateway(
        keys=store.keys,
        prices=store.prices,
        ledger=store.ledger,
        records=store.records,
        catalog=catalog,
        upstreams=upstreams,
        routes=Routes(
            list(upstreams),
            {
                _id(catalog, route.model) or route.model: routing.Route(
                    upstreams=route.upstreams, weights=route.weights, affinity=route.affinity
                )
                for route in settings.routes
            },
        ),
        dispatch=_dispatch(settings),
        retry=routing.Retry(attempts_max=settings.retry.attempts_max, budget_ms=int(settings.retry.budget_s * 1_000)),
        abandon_budget=settings.limits.abandon_nanos,
        keeping=Keeping(
            kept_ms=settings.idempotency.keep_answers_s * 1_000, bytes_max=settings.idempotency.answer_bytes_max
        ),
        estimator=Estimator(),
        now_ms=wall_clock,
        chance=random.random,
        new_id=_new_id,
        observer=Observer(telemetry),
    )


def _dispatch(settings: Settings) -> Dispatch:
    breaker, retry = settings.breaker, settings.retry
    bounds = Bounds(
        failures_max=breaker.failures_max,
        share_max=breaker.share_percent,
        window_calls_min=breaker.window_calls_min,
        window_s=breaker.window_s,
        rest_s=breaker.rest_s,
        rest_s_max=breaker.rest_s_max,
    )
    return Dispatch(bounds, Allowance(share=retry.share_percent, floor_per_s=retry.floor_per_s))


def _door(settings: Settings, gate: Gateway, telemetry: Telemetry, store: Store, worker: Worker) -> Door:
    intake = Intake(
        body_bytes_max=settings.server.body_bytes_max,
        body_timeout_s=settings.server.body_timeout_s,
        trusted_proxies=tuple(map(ipaddress.ip_network, settings.server.trusted_proxies)),
    )
    batches = BatchDesk(
        gate,
        store.batches,
        msgspec.structs.replace(
            intake,
            body_bytes_max=settings.batches.body_bytes_max,
            body_timeout_s=BATCH_BODY_TIMES * intake.body_timeout_s,
        ),
        changed=worker.wake,
        bounds=settings.batches,
        public_url=settings.batches.public_url,
    )
    api = Api(gate, intake, metrics=telemetry.render, metrics_type=CONTENT_TYPE, batches=batches)
    return Door(gate, intake, api.app(), calls_max=settings.server.calls_max)


def _desk(store: Store, catalog: Catalog, costs: Costs) -> Desk:
    return Desk(
        office=store.office,
        records=store.records,
        prices=store.prices,
        models=lambda name: _id(catalog, name),
        costs=costs,
    )


def _id(catalog: Catalog, name: str) -> str | None:
    model = catalog.find(name)
    return model.id if model is not None else None


def base_url(listener: socket.socket) -> str:
    """Where callers reach a listener, as their SDKs want it: without /v1."""
    host, port = listener.getsockname()[:2]
    host = _LOOPBACK.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _new_id(prefix: str) -> str:
    return prefix + ulid(wall_clock(), secrets.randbits(CHANCE_BITS))
