"""The offline model as an upstream: a small real model that we run ourselves, for trying and testing.

One rule: it is asked by stream only, for only a stream notices at once that its reader has gone; who asked without one
gets the whole at the end.

    Ask ──plan──> template, with the wallet's salt ──> generation ──Translation──> Answer

It answers for every model of the catalog. Nothing of its server's own wording, address or key leaves this floor.
"""

import asyncio
import collections
import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from faregate.core.ids import CHANCE_BITS, ulid
from faregate.upstreams.local_process import ModelProcess, Running, Sizes
from faregate.upstreams.local_stream import Ids, State, Toll, Translation, read_refusal
from faregate.upstreams.local_weights import ModelFailure, find_model
from faregate.upstreams.local_wire import Plan, Shape, chat, completion, plan, salt
from faregate.upstreams.origin import request_head
from faregate.upstreams.port import Answer, Ask, Fault, FaultKind, Sink, Whole, pour
from faregate.upstreams.transport import Transport

FIRST_BYTE_S: Final = 600.0
"""A call may wait for one of the slots, and then for its prompt to be read."""
TOLLS_MAX: Final = 4_096
"""Wallets whose salt we have measured; beyond it the oldest is measured again when it returns."""
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""An answer of the model's server beside a stream: a prompt written out, an array of tokens."""

_STREAM_HEADERS: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_PLAIN_HEADERS: Final = {"content-type": "application/json"}


class Local:
    """An `Upstream` of the port. It borrows its transport; `log` takes a sentence and fields, as structlog's do."""

    embedded = True

    def __init__(
        self,
        *,
        name: str,
        transport: Transport,
        model_file: str | None,
        log: Any,
        sizes: Sizes | None = None,
        secret: bytes | None = None,
    ) -> None:
        """`secret` makes the salts; nobody need know it, so it is random unless answers are to be repeated."""
        self.name = name
        self._transport = transport
        self._model_file = model_file
        self._log = log
        self.process = ModelProcess(sizes=sizes or Sizes(), log=log)
        self._secret = secret or secrets.token_bytes(32)
        self._tolls: collections.OrderedDict[str, Toll] = collections.OrderedDict()

    async def start(self) -> None:
        """Check the weights, run the model, wait until it is ready. Raises ModelFailure with a way out."""
        self._log.info("the offline model is loading: a small model for trying and testing, not Claude")
        model = await asyncio.to_thread(find_model, self._model_file)
        await self.process.start(model)
        try:
            await self._toll(self._ready(), "the first")
        except Exception:
            await self.stop()
            raise
        self._log.info("the offline model is ready; it answers for every model of the catalog", file=model.name)

    async def stop(self) -> None:
        await self.process.stop()

    def redact(self, text: str) -> str:
        return text  # What a caller may read of this one is written by us.

    def healthy(self) -> bool:
        return self.process.running is not None

    async def send(self, ask: Ask) -> Answer:
        planned = plan(ask.document)
        running = self._ready()
        toll = await self._toll(running, ask.wallet_id)
        first_line = salt(self._secret, ask.wallet_id)
        prompt = (await self._call(running, "/apply-template", chat(planned, first_line)))["prompt"]
        if ask.on_wire is not None:
            ask.on_wire()
        reply = await self._post(running, "/completion", completion(planned, prompt))
        try:
            return await self._accepted(reply, planned, toll, ask)
        except BaseException:
            reply.cancel()
            raise

    async def count_tokens(self, ask: Ask) -> int | None:
        planned = plan(ask.document)
        running = self._ready()
        toll = await self._toll(running, ask.wallet_id)
        return await self._count(running, planned, salt(self._secret, ask.wallet_id)) - toll.salt

    async def _accepted(self, reply: Answer, planned: Plan, toll: Toll, ask: Ask) -> Answer:
        """Wait until the model is at it, so that a refusal still has a status of its own."""
        if reply.status != 200:
            raise read_refusal(await _whole(reply), reply.status, toll)
        translation = Translation(planned, toll, _mint(), ask.model)
        first = b""
        # What is held to a schema is accepted when it keeps to it; a plain answer when it is whole.
        while not _good(translation, planned) or (not ask.stream and translation.state is not State.COMPLETE):
            first += await _more(reply, translation)
        if ask.stream:
            return Streamed(reply, translation, first)
        return Whole(200, _PLAIN_HEADERS, msgspec.json.encode(translation.message()))

    async def _toll(self, running: Running, wallet_id: str) -> Toll:
        """What this wallet's salt costs, measured once by the model's own tokenizer."""
        toll = self._tolls.get(wallet_id)
        if toll is None:
            toll = await self._measure(running, salt(self._secret, wallet_id))
            self._tolls[wallet_id] = toll
            if len(self._tolls) > TOLLS_MAX:
                self._tolls.popitem(last=False)
        return toll

    async def _measure(self, running: Running, first_line: str) -> Toll:
        probe = plan({"messages": [{"role": "user", "content": "Which gate opens?"}], "max_tokens": 1})
        prompt = (await self._call(running, "/apply-template", chat(probe, first_line)))["prompt"]
        begin, found, _ = prompt.partition(first_line)
        if not found:
            raise ModelFailure(
                "model_file: its chat template leaves out the system text, by which wallets are kept apart;"
                " use a model whose template has one"
            )
        asked = {"content": begin + found, "add_special": True, "parse_special": True}
        head = len((await self._call(running, "/tokenize", asked))["tokens"])
        salted, plain = await self._count(running, probe, first_line), await self._count(running, probe, "")
        return Toll(salt=salted - plain, head=head)

    async def _count(self, running: Running, planned: Plan, first_line: str) -> int:
        """By its own count endpoint, which renders with the same template."""
        system, *turns = chat(planned, first_line)["messages"]
        counted = await self._call(
            running, "/v1/messages/count_tokens", {"system": system["content"], "messages": turns}
        )
        return int(counted["input_tokens"])

    async def _call(self, running: Running, path: str, body: dict[str, Any]) -> Any:
        """A short question to its server."""
        reply = await self._post(running, path, body)
        data = await _whole(reply)
        if reply.status != 200:
            raise Fault(FaultKind.PROTOCOL, f"the offline model answered {path} with status {reply.status}")
        try:
            return msgspec.json.decode(data)
        except msgspec.MsgspecError as error:
            raise Fault(FaultKind.PROTOCOL, f"the offline model answered {path} without JSON: {error}") from None

    async def _post(self, running: Running, path: str, body: dict[str, Any]) -> Answer:
        headers = [
            ("authorization", f"Bearer {running.key}"),
            ("content-type", "application/json"),
            # A kept connection keeps one of its threads, and a new one on loopback costs nothing.
            ("connection", "close"),
        ]
        head = request_head(running.origin, path, headers)
        return await self._transport.send(running.origin, head, msgspec.json.encode(body), first_byte_s=FIRST_BYTE_S)

    def _ready(self) -> Running:
        running = self.process.running
        if running is None:
            raise Fault(FaultKind.CONNECT, "the offline model is not running; it is being started again")
        return running


class Streamed:
    """An `Answer`: the model's stream, translated as it is read."""

    status = 200
    headers: Mapping[str, str] = _STREAM_HEADERS

    def __init__(self, reply: Answer, translation: Translation, first: bytes) -> None:
        self._reply = reply
        self._translation = translation
        self._first = first

    async def read(self) -> bytes:
        first, self._first = self._first, b""
        while not first and self._translation.state is not State.COMPLETE:
            first = await _more(self._reply, self._translation)
        return first

    async def pour(self, sink: Sink) -> bool:
        return await pour(self, sink)

    def cancel(self) -> None:
        self._first = b""
        self._reply.cancel()

    leave = cancel


def _good(translation: Translation, planned: Plan) -> bool:
    if translation.state is State.COMPLETE:
        return True
    return translation.state is State.RUNNING and (planned.shape is Shape.TEXT or translation.texted)


async def _more(reply: Answer, translation: Translation) -> bytes:
    data = await reply.read()
    if not data:
        raise Fault(FaultKind.RESET, "the offline model's stream ended before its end")
    out = translation.feed(data)
    if translation.state is State.COMPLETE:
        # The rest says nothing: the connection is not kept, so it is not worth reading out.
        reply.cancel()
    return out


async def _whole(reply: Answer) -> bytes:
    data = b""
    while piece := await reply.read():
        data += piece
        if len(data) > BODY_BYTES_MAX:
            reply.cancel()
            raise Fault(FaultKind.PROTOCOL, f"the offline model answered more than {BODY_BYTES_MAX} bytes")
    return data


def _mint() -> Ids:
    message, tool = (ulid(0, secrets.randbits(CHANCE_BITS)) for _ in range(2))
    return Ids(message=f"msg_{message}", tool=f"toolu_{tool}")
