"""The settings of one upstream: what it speaks, where it is, with which keys, and how long it may take.

The rule of `shape` holds: a setting that is not declared does not exist, and one that is declared is used.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Auth = Literal["x-api-key", "bearer"]
Kind = Literal["anthropic", "openai", "bedrock", "vertex", "local", "scripted"]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deadlines of a call to an upstream, in seconds."""

    connect_s: Annotated[float, Meta(gt=0, le=300, description="To be connected, TLS included.")] = 5.0
    first_byte_s: Annotated[float, Meta(gt=0, le=3600, description="From the request sent to the answer's head.")] = (
        120.0
    )
    idle_s: Annotated[float, Meta(gt=0, le=3600, description="Between two pieces of an answer.")] = 60.0
    total_s: Annotated[float, Meta(gt=0, le=86400, description="For the whole call.")] = 600.0


class UpstreamEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place where calls are sent, as the file says it."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="How routes, receipts and metrics call it.")]
    kind: Annotated[Kind, Meta(description="What it speaks. `local` is the small model that the gateway runs itself.")]
    base_url: Annotated[
        str | None,
        Meta(
            description="Where it is: `https://api.anthropic.com` when an `anthropic` leaves it out, "
            "`https://api.openai.com/v1` when an `openai` does, the region's public endpoint when a cloud does. "
            "Without a path, `openai` adds `/v1`."
        ),
    ] = None
    api_key_env: Annotated[
        str | None,
        Meta(
            description="Environment variable that holds its API key. `anthropic` and `openai`: required for the "
            "vendor's own address; left out elsewhere, no key is sent. `bedrock`: left out, "
            "`AWS_BEARER_TOKEN_BEDROCK` is looked at, and without one calls are signed."
        ),
    ] = None
    api_key_envs: Annotated[
        tuple[str, ...],
        Meta(
            description="Several such variables instead: their keys are used in turn, and one that is answered 401, "
            "403 or 429 rests for a while."
        ),
    ] = ()
    auth: Annotated[
        Auth | None,
        Meta(description="How the key is sent; left out, `x-api-key` by `anthropic` and `bearer` by `openai`."),
    ] = None
    models: Annotated[
        dict[str, str],
        Meta(
            description="What this upstream calls each model, by the catalog's id; a model that is not here is asked "
            "for by its id."
        ),
    ] = msgspec.field(default_factory=dict)
    batches: Annotated[
        bool | None,
        Meta(
            description="`anthropic` only: whether requests of batches are handed to it as batches of its own, at its "
            "half price. Left out, it is so at `https://api.anthropic.com` and nowhere else."
        ),
    ] = None
    ca_file: Annotated[str | None, Meta(description="PEM file of a private authority to trust for its TLS.")] = None
    proxy: Annotated[str | None, Meta(description="Egress proxy, `http://host:port`, asked by CONNECT.")] = None
    region: Annotated[
        Annotated[str, Meta(pattern=r"^[a-z0-9-]+$")] | None,
        Meta(
            description="`bedrock` and `vertex`, and required there: the cloud's region, as `us-east-1`; for `vertex` "
            "also `global`, `us` or `eu`.",
        ),
    ] = None
    project: Annotated[
        Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.:-]*$")] | None,
        Meta(
            description="`vertex` only, and required there: the Google Cloud project that calls are billed to.",
        ),
    ] = None
    profile: Annotated[str | None, Meta(description="`bedrock` only: a profile of AWS's configuration files.")] = None
    credentials_file: Annotated[
        str | None,
        Meta(
            description="`vertex` only: the key file of a service account; Google's application default credentials "
            "when it is left out."
        ),
    ] = None
    betas_withheld: Annotated[
        tuple[str, ...],
        Meta(
            description="`bedrock` and `vertex` only: betas that are left out of a caller's `anthropic-beta`, for a "
            "cloud refuses a call with one that it does not know."
        ),
    ] = ()
    model_file: Annotated[str | None, Meta(description="`local` only: a GGUF file of your own.")] = None
    connections_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Connections to it at once, one for each call under way; one more waits its turn, for 5 s.",
        ),
    ] = 10_000
    timeouts: Annotated[Timeouts, Meta(description="Deadlines; see the table of its own.")] = Timeouts()
