"""What `faregate doctor` asks a cloud: to count the tokens of a word, which is free at both and proves the credentials.

The rule: a finding is what the adapter itself makes of the answer, so it holds no account, project or key.
"""

import asyncio
from typing import Final

import msgspec

from faregate.cli.refusals import Failed
from faregate.core.errors import GatewayError
from faregate.fleet import running_upstreams
from faregate.settings import Settings, Upstream
from faregate.shipped import load_catalog
from faregate.upstreams.port import Ask, Fault

WAIT_S: Final = 45.0
"""Longer than credentials are waited for, so that theirs is the finding."""


def ask(settings: Settings, upstream: Upstream) -> str:
    """Ask a `bedrock` or `vertex` upstream. Raises Failed with a finding and the way out, or CannotStart."""
    model = next(iter(upstream.models), load_catalog().models()[0].id)
    theirs = upstream.models.get(model, model)
    what = f"{upstream.kind} {upstream.region}"
    try:
        counted = asyncio.run(_counted(msgspec.structs.replace(settings, upstreams=(upstream,)), upstream.name, model))
    except TimeoutError:
        raise Failed(f"{what} did not answer within {WAIT_S:g} s: look at region, proxy and base_url") from None
    except (Fault, GatewayError) as error:
        raise Failed(
            f"{what} does not count tokens for {theirs} ({error}): look at the credentials, at region, and at what the "
            "model is called under upstreams.models"
        ) from None
    if counted is None:
        return f"{what}: answers, and counts no tokens for {theirs}: whether that model is there, a call will tell"
    return f"{what}: answers, and counts the tokens of {theirs}"


async def _counted(settings: Settings, name: str, model: str) -> int | None:
    document = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    asked = Ask(
        document=document,
        body=msgspec.json.encode(document),
        model=model,
        stream=False,
        version="2023-06-01",
        beta=None,
        wallet_id="doctor",
    )
    async with asyncio.timeout(WAIT_S), running_upstreams(settings) as upstreams:
        return await upstreams[name].count_tokens(asked)
