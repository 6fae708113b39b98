"""What a run found, as a page: docs/clients.md. It also says how each client is pointed at a gateway.

The rule: a figure on the page was measured by the run that wrote it, and names the versions that it was measured with.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tests.conformance.clients import FEATURES, Ride
from tests.conformance.golden import Golden
from tests.conformance.house import Bill
from tests.conformance.sdk_tests import Suite

HEADINGS: Final = {
    "plain": "plain", "stream": "stream", "tools": "tools, two turns", "errors": "errors",
    "count_tokens": "count_tokens", "models": "models", "batches": "batches",
}  # fmt: skip

HEAD: Final = """# Clients

Whatever speaks the Anthropic Messages API rides: give it the gateway's address as its base URL and a key of the gateway
(`sk-fare-...`) as its API key. `x-api-key` and `Authorization: Bearer` both do, with either `anthropic-version`. Models
that a client asks for by other names are mapped with `aliases` in `[[routes]]` ([settings](settings.md)).

This page is written by `make conformance ARGS=--write`, which drives each client, as pinned, through a running gateway
whose upstream is scripted. *Billed* says that each call's receipt has the usage of the upstream's answer to that very
call, and its exact price; a dash, that the client has no such feature.
"""

HOW: Final = {
    "Python SDK": """```python
client = anthropic.Anthropic(base_url="http://127.0.0.1:8080", api_key="sk-fare-...")
```

or `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` in the environment. The quote is in the headers:
`client.messages.with_raw_response.create(...)`, then `.headers["x-credits-charged"]`.""",
    "TypeScript SDK": """```ts
const client = new Anthropic({ baseURL: "http://127.0.0.1:8080", apiKey: "sk-fare-..." });
```

The same two variables do.""",
    "Claude Code": """```sh
export ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_API_KEY=sk-fare-...
export ANTHROPIC_MODEL=claude-sonnet-4-6 ANTHROPIC_SMALL_FAST_MODEL=claude-haiku-4-5
claude
```

It asks for up to 128,000 tokens of output, which Sonnet and Opus allow; with Haiku as its main model set
`CLAUDE_CODE_MAX_OUTPUT_TOKENS=8000` as well, or it is told `max_tokens: 32000 > 8192`. What a model only takes as
advice (`effort`, `context_management`) is dropped and named in `x-dropped-parameters`.""",
    "LangChain": """```python
ChatAnthropic(model="claude-sonnet-4-6", base_url="http://127.0.0.1:8080", api_key="sk-fare-...")
```""",
    "pydantic-ai": """```python
provider = AnthropicProvider(base_url="http://127.0.0.1:8080", api_key="sk-fare-...")
agent = Agent(AnthropicModel("claude-sonnet-4-6", provider=provider))
```""",
    "Vercel AI SDK": """```ts
const anthropic = createAnthropic({ baseURL: "http://127.0.0.1:8080/v1", apiKey: "sk-fare-..." });
```

Here the base URL ends in `/v1`.""",
}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All that one run found."""

    rides: Sequence[Ride] = ()
    sdk: str = ""
    """The source distribution: `anthropic-2.14.0`."""
    suites: Sequence[Suite] = ()
    suites_bill: Bill | None = None
    golden: Sequence[Golden] = ()
    skipped: Sequence[str] = ()

    def faults(self) -> list[str]:
        """All that is wrong, in sentences."""
        found = [f"{ride.client}: {fault}" for ride in self.rides for fault in ride.faults]
        found += [f"{ride.client}: billing: {fault}" for ride in self.rides if ride.bill for fault in ride.bill.wrong]
        found += [f"{suite.name}: {fault}" for suite in self.suites for fault in suite.wrong]
        found += [
            f"{self.sdk}'s tests: billing: {fault}" for fault in (self.suites_bill.wrong if self.suites_bill else ())
        ]
        return found + [f"golden {golden.name}: {fault}" for golden in self.golden for fault in golden.faults]


def tables(found: Found) -> str:
    """The tables, as they are printed and written."""
    parts = []
    if found.rides:
        parts.append(_table(("client", *HEADINGS.values(), "billed"), [_ride(ride) for ride in found.rides]))
    parts += [f"{ride.client} was skipped: {ride.skipped}." for ride in found.rides if ride.skipped]
    if found.suites:
        parts.append(f"## The SDK's own tests\n\nOf `{found.sdk}`, its source distribution's `tests/api_resources`:")
        parts.append(_table(SUITE, [_suite(suite) for suite in found.suites]))
        parts.append(SUITE_NOTE)
        reasons = sorted({reason for suite in found.suites for reason in suite.reasons})
        parts += ["\n".join(f"- `{reason}`" for reason in reasons)] if reasons else []
        parts += [f"Billing: {_bill(found.suites_bill)}."] if found.suites_bill else []
    if found.golden:
        right = sum(not golden.faults for golden in found.golden)
        parts.append(
            f"## The SDK's golden streams\n\n{right} of the {len(found.golden)} streams that ship in "
            f"`{found.sdk}` come out "
            f"as they went in, whole and in pieces of any size, and are billed by what they say:\n"
            f"{', '.join(f'`{golden.name}`' for golden in found.golden)}."
        )
    parts += [f"Skipped: {reason}." for reason in found.skipped]
    return "\n\n".join(parts) + "\n"


def page(found: Found) -> str:
    """docs/clients.md."""
    how = "\n\n".join(f"### {name}\n\n{text}" for name, text in HOW.items())
    return f"{HEAD}\n{tables(found)}\n## How to point each client here\n\n{how}\n"


SUITE: Final = (
    "tests",
    "pass",
    "refused by contract",
    "of these, pass without it",
    "no such batch",
    "not served",
    "wrong",
)
SUITE_NOTE: Final = """These tests send every parameter that there is at once. What has no price here is refused with
422 before anything is sent upstream: nothing is served that cannot be billed. Left out, the rest of the same call
passes. And a batch is not found by an id that the tests made up. What was refused:"""


def _suite(suite: Suite) -> tuple[Any, ...]:
    return (
        f"`{suite.name}`", suite.passed, suite.refused, suite.passed_without, suite.unknown, suite.not_served,
        len(suite.wrong),
    )  # fmt: skip


def _ride(ride: Ride) -> tuple[Any, ...]:
    if ride.bill is None:
        return (ride.client, *("skipped" for _ in FEATURES), "skipped")
    cells = (ride.cells.get(feature, "–") for feature in FEATURES)
    return (f"{ride.client} (`{ride.version}`)", *cells, _bill(ride.bill))


def _bill(bill: Bill) -> str:
    return f"no: {len(bill.wrong)} differ" if bill.wrong else f"yes: {bill.calls} calls, {bill.credits:f} credits"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        f"| {' | '.join(map(str, line))} |".replace("| --- ", "|---").replace("---|---", "---|---") for line in lines
    )
