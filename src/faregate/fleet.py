"""The upstreams that the settings ask for, built, started, and stopped in the end.

Each has a transport of its own, for deadlines, authorities and proxies are each upstream's own.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from faregate import settings as s
from faregate.upstreams.anthropic import Anthropic
from faregate.upstreams.local import Local
from faregate.upstreams.openai import OpenAI
from faregate.upstreams.pool import Limits
from faregate.upstreams.port import Upstream
from faregate.upstreams.reply import Timeouts
from faregate.upstreams.scripted import Scripted
from faregate.upstreams.transport import Transport


@asynccontextmanager
async def running_upstreams(settings: s.Settings) -> AsyncIterator[dict[str, Upstream]]:
    """Every configured upstream by its name, in the order of the settings."""
    upstreams: dict[str, Upstream] = {}
    async with AsyncExitStack() as stack:
        for entry in settings.upstreams:
            transport = Transport(
                timeouts=_timeouts(entry.timeouts),
                limits=Limits(connections_max=entry.connections_max),
                ca_file=str(entry.ca_file) if entry.ca_file is not None else None,
                proxy=entry.proxy,
            )
            stack.push_async_callback(transport.aclose)
            upstream = _build(entry, transport)
            stack.push_async_callback(upstream.stop)
            await upstream.start()
            upstreams[entry.name] = upstream
        yield upstreams


def _build(entry: s.Upstream, transport: Transport) -> Upstream:
    match entry.kind:
        case "anthropic":
            return Anthropic(
                name=entry.name,
                base_url=entry.base_url,
                api_keys=[key.reveal() for key in entry.api_keys],
                transport=transport,
                auth=entry.auth,
                models=entry.models,
                takes_batches=entry.batches,
            )
        case "openai":
            return OpenAI(
                name=entry.name,
                base_url=entry.base_url,
                api_keys=[key.reveal() for key in entry.api_keys],
                transport=transport,
                auth=entry.auth,
                models=entry.models,
            )
        case "bedrock":
            # The vendors' libraries are asked for by who uses them alone, and may not be installed.
            from faregate.upstreams.bedrock import Bedrock  # noqa: PLC0415

            return Bedrock(
                name=entry.name,
                base_url=entry.base_url,
                region=entry.region,
                transport=transport,
                models=entry.models,
                profile=entry.profile,
                api_key=entry.api_keys[0].reveal() if entry.api_keys else None,
                betas_withheld=entry.betas_withheld,
            )
        case "vertex":
            from faregate.upstreams.vertex import Vertex  # noqa: PLC0415

            return Vertex(
                name=entry.name,
                base_url=entry.base_url,
                project=entry.project,
                region=entry.region,
                transport=transport,
                models=entry.models,
                credentials_file=str(entry.credentials_file) if entry.credentials_file is not None else None,
                betas_withheld=entry.betas_withheld,
            )
        case "local":
            file = str(entry.model_file) if entry.model_file is not None else None
            return Local(name=entry.name, transport=transport, model_file=file, log=structlog.get_logger())
        case "scripted":
            return Scripted(name=entry.name, transport=transport)


def _timeouts(timeouts: s.Timeouts) -> Timeouts:
    return Timeouts(
        connect=timeouts.connect_s,
        first_byte=timeouts.first_byte_s,
        # The head of a plain answer comes when all of it has been made.
        first_byte_plain=timeouts.total_s,
        idle=timeouts.idle_s,
        total=timeouts.total_s,
    )
