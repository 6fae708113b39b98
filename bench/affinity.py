"""What affinity is worth: the share of a prompt's tokens that upstream reads from its cache, with it and without.

    conversations, turn by turn, interleaved ──> the gateway ──> two scripted upstreams by weight, each with a cache of
                                                                 its own that lives as Anthropic's does
    python -m bench.affinity [--conversations 40] [--turns 12] [--weights 3 1]

Each conversation marks its system prompt and its last message, as agents do. What is read and written is taken from the
receipts, so it is what callers pay for; the ledger is audited at the end.
"""

import argparse
import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
import msgspec

from bench.answers import MODEL
from faregate import app, settings
from faregate.edge import desk, forms
from faregate.edge.listen import listen
from faregate.stopping import Server

SYSTEM_WORDS: Final = 1_500
TURN_WORDS: Final = 300
OPENING: Final = "1000000000"
MARK: Final = {"type": "ephemeral"}


class Share(NamedTuple):
    """What one run came to."""

    affinity: str
    calls: int
    by_upstream: dict[str, int]
    read: int
    total: int
    charged: float
    errors: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.affinity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--weights", type=int, nargs=2, default=[1, 1], metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| affinity | calls | to a / b | prompt tokens | read from cache | credits | errors |")
    print("|---|---|---|---|---|---|---|")
    for affinity in ("false", "true"):
        share = asyncio.run(_run(affinity, options))
        split = " / ".join(str(share.by_upstream.get(name, 0)) for name in ("a", "b"))
        print(
            f"| {share.affinity} | {share.calls} | {split} | {share.total} | {share.read / share.total:.1%} "
            f"| {share.charged:.0f} | {share.errors} |"
        )


async def _run(affinity: str, options: argparse.Namespace) -> Share:
    with tempfile.TemporaryDirectory() as folder, listen("127.0.0.1", 0, setting="server") as listener:
        file = Path(folder) / "faregate.toml"
        file.write_text(
            "".join(f'[[upstreams]]\nname = "{name}"\nkind = "scripted"\n' for name in ("a", "b"))
            + f'[[routes]]\nmodel = "{MODEL}"\nupstreams = ["a", "b"]\nweights = {options.weights}\n'
            f'affinity = {affinity}\n[log]\nlevel = "error"\n'
        )
        environ = {"FAREGATE_HOME": str(Path(folder) / "home")}
        async with app.gateway(settings.load(environ, folder=Path(folder), file=file)) as running:
            server = Server(running.door, listener, drain_s=60)
            serving = asyncio.create_task(server.serve())
            async with httpx2.AsyncClient(base_url=app.base_url(listener), timeout=60, trust_env=False) as client:
                errors = await _talk(client, await _key(running.desk), options)
            calls = await _calls(running.desk)
            findings = await running.store.office.audit()
            errors += sum(finding.count for finding in findings)
            server.should_exit = True
            await serving
    used = [call.usage for call in calls]
    read = sum(usage.cache_read_input_tokens for usage in used)
    total = read + sum(usage.input_tokens + usage.cache_creation_input_tokens for usage in used)
    charged = sum(float(call.charged) for call in calls)
    return Share(affinity, len(calls), Counter(str(call.upstream) for call in calls), read, total, charged, errors)


async def _key(door: desk.Desk) -> str:
    await desk.wallet_create(door, desk.Asked(form=forms.NewWallet(name="bench")))
    await desk.wallet_topup(door, desk.Asked(name="bench", form=forms.NewTopup(amount=OPENING, reference="first")))
    return (await desk.key_create(door, desk.Asked(form=forms.NewKey(wallet="bench")))).key


async def _talk(client: httpx2.AsyncClient, key: str, options: argparse.Namespace) -> int:
    """Every conversation's first turn, then every one's second, and so on; gives the answers that were none."""
    chance, errors = random.Random(options.seed), 0
    system = [{"type": "text", "text": _words(chance, SYSTEM_WORDS), "cache_control": MARK}]
    talks = list[list[dict[str, Any]]]([] for _ in range(options.conversations))
    for _ in range(options.turns):
        for talk in talks:
            said = {"type": "text", "text": _words(chance, TURN_WORDS)}
            marked = {"role": "user", "content": [{**said, "cache_control": MARK}]}
            body = {"model": MODEL, "max_tokens": 64, "system": system, "messages": [*talk, marked]}
            answer = await client.post("/v1/messages", content=msgspec.json.encode(body), headers={"x-api-key": key})
            errors += answer.status_code != 200
            reply = {"role": "assistant", "content": answer.json().get("content", [])}
            talk += [{"role": "user", "content": [said]}, reply]
    return errors


async def _calls(door: desk.Desk) -> list[Any]:
    calls, before = list[Any](), None
    while True:
        page = await desk.usage(door, desk.Asked(form=forms.UsageAsked(limit=1_000, before=before)))
        calls += page.calls
        if page.next is None:
            return calls
        before = page.next


def _words(chance: random.Random, count: int) -> str:
    return " ".join(f"{chance.randrange(10**5):05d}" for _ in range(count))


if __name__ == "__main__":
    main()
