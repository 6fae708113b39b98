"""What costs nothing: a quote without a call, and a count of tokens. They walk the story's road up to the hold."""

import asyncio
from typing import Any

import msgspec

from faregate.core.access import Key
from faregate.core.admission import admit
from faregate.core.catalog import Model
from faregate.core.errors import NotReady
from faregate.core.ledger import Wallet, affordable
from faregate.core.money import show_credits
from faregate.core.prompt import survey
from faregate.core.quote import input_bound
from faregate.proxy import entry
from faregate.proxy.fare import appraise, dialect
from faregate.proxy.port import Asker, Gateway
from faregate.proxy.verdict import of_fault
from faregate.upstreams.port import Ask, Fault


async def quote(gate: Gateway, caller: Asker) -> dict[str, Any]:
    """What a call would be quoted now, under the names of a 2xx answer's headers. Nothing is held, nothing is sent."""
    key, document, model = await _asked(gate, caller)
    await gate.prices.current()
    fare = appraise(gate, key, document, model, caller)
    quoted, command = fare.quote, fare.reservation(gate, caller)
    wallet, caps = await _funds(gate, key)
    tokens = affordable(command, min([wallet.available - wallet.floor, *caps.values()]))
    ceiling, estimated = quoted.fit(quoted.max_tokens if tokens is None else tokens)
    held = 0 if tokens is None else ceiling
    quota = {"quota_remaining_credits": show_credits(caps["quota"] - held)} if "quota" in caps else {}
    return {
        "type": "quote",
        "model": model.id,
        "credits_max": show_credits(ceiling),
        "credits_estimated": show_credits(estimated),
        "credits_input": show_credits(quoted.input_estimated),
        "credits_remaining": show_credits(wallet.available - held),
        **quota,
        "max_tokens_effective": 0 if tokens is None else tokens,
        "price_version": quoted.price.id,
        "affordable": tokens is not None,
        "input_tokens_estimated": quoted.guess.input_tokens,
        "input_tokens_max": quoted.input_tokens_max,
        "dropped_parameters": list(fare.admitted.dropped),
    }


async def count_tokens(gate: Gateway, caller: Asker) -> int:
    """Upstream's own count of an input, or our estimate where it has none or cannot be reached."""
    key, document, model = await _asked(gate, caller)
    version, beta = dialect(caller)
    admitted = admit({**document, "model": model.id}, model, version, beta=beta is not None, counting=True)
    body = msgspec.json.encode(admitted.document)
    ask = Ask(
        document=admitted.document,
        body=body,
        model=model.id,
        stream=False,
        version=version,
        beta=beta,
        wallet_id=key.wallet_id,
    )
    now_s = asyncio.get_running_loop().time()
    for name in gate.routes.upstreams(model.id):
        if not gate.dispatch.is_up(name, now_s):
            continue  # A count is not worth the wait for who is down.
        try:
            counted = await gate.upstreams[name].count_tokens(ask)
        except Fault as fault:
            gate.observer.trouble(caller.request_id, f"{name} did not count tokens: {of_fault(fault)}", None)
            continue
        if counted is not None:
            return counted
    prompt = survey(admitted.document, namespace=f"{key.wallet_id}/{model.id}", image_tokens_max=model.image_tokens_max)
    guess = gate.estimator.guess(
        key.id, model.id, prompt, max_tokens=0, now_ms=gate.now_ms(), tokens_max=input_bound(admitted, body)
    )
    return guess.input_tokens


async def _asked(gate: Gateway, caller: Asker) -> tuple[Key, dict[str, Any], Model]:
    key = await entry.authenticate(gate, caller)
    document = entry.read(await caller.body())
    return key, document, entry.find_model(gate, key, document)


async def _funds(gate: Gateway, key: Key) -> tuple[Wallet, dict[str, int]]:
    """The wallet that this key spends, and what is left of each of its own caps."""
    wallet = await gate.records.wallet(key.wallet_id)
    if wallet is None:
        raise NotReady("The wallet of this key cannot be read.", code="database_unavailable")
    return wallet, await gate.records.spent(key, gate.now_ms())
