"""The first minute: a demo wallet with a key on a new database, and what to do with it.

The key is shown once, as every key is. Starting again says when that was, and how to get another.
"""

import secrets
import shlex
from typing import Final, TextIO

from faregate.core.access import PREFIX
from faregate.core.errors import Conflict
from faregate.core.shown import moment
from faregate.edge import desk, forms
from faregate.edge.desk import Asked, Desk
from faregate.settings import Settings

DEMO: Final = "demo"
DEMO_CREDITS: Final = "5000000"

_OFFLINE: Final = "  (a small offline model for trying and testing; set ANTHROPIC_API_KEY for the real ones)"


async def welcome(
    at: Desk, settings: Settings, *, base_url: str, model: str, command: str = "faregate", out: TextIO
) -> None:
    """Print where we are and how to call; on a database without wallets, make the demo wallet and its key first."""
    lines = ["", f"Faregate is at  {base_url}", f"  data          {settings.home}"]
    for upstream in settings.upstreams:
        lines.append(f"  upstream      {upstream.name}{_OFFLINE if upstream.kind == 'local' else ''}")
    key = await _first_key(at)
    if key is not None:
        lines += [
            f"  wallet        {DEMO}: {int(DEMO_CREDITS):,} credits",
            f"  key           {key}",
            "                (shown this once: keep it)",
        ]
    else:
        key = "$FAREGATE_KEY"
        lines += await _shown_before(at, [wallet.name for wallet in await at.office.wallets()], command)
    lines += ["", *_curl(base_url, key, model), "", "Ctrl-C ends it. One line for each request follows.", ""]
    out.write("\n".join(lines) + "\n")
    out.flush()


async def _first_key(at: Desk) -> str | None:
    """Make the demo wallet and its key; None where there are wallets already."""
    if await at.office.wallets():
        return None
    try:
        await desk.wallet_create(at, Asked(form=forms.NewWallet(name=DEMO)))
    except Conflict:  # Replicas that begin together on an empty database: one of them makes it.
        return None
    reference = f"demo-{secrets.token_hex(4)}"
    topup = forms.NewTopup(amount=DEMO_CREDITS, note="The demo wallet's first credits", reference=reference)
    await desk.wallet_topup(at, Asked(name=DEMO, form=topup))
    return (await desk.key_create(at, Asked(form=forms.NewKey(wallet=DEMO, name=DEMO)))).key


async def _shown_before(at: Desk, wallets: list[str], command: str) -> list[str]:
    """Say when the demo key was shown, and how to get another: none is ever shown again."""
    wallet = DEMO if DEMO in wallets else wallets[0]
    create = f"{command} key create --wallet {shlex.quote(wallet)}"
    for key in await at.office.keys(wallet) if wallet == DEMO else ():
        if key.name == DEMO and key.revoked_at_ms is None:
            when = moment(key.created_at_ms).strftime("%Y-%m-%d %H:%M UTC")
            shown = f"{PREFIX}{key.id}_… was shown at the first start, {when}"
            return [f"  key           {shown}", f"                another: {create}"]
    return [f"  key           a new one: {create}"]


def _curl(base_url: str, key: str, model: str) -> list[str]:
    body = f'{{"model": "{model}", "max_tokens": 200, "stream": true,\n       '
    body += '"messages": [{"role": "user", "content": "Say hello in five words."}]}'
    return [
        f"curl -iN {base_url}/v1/messages \\",
        f"  -H \"x-api-key: {key}\" -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \\",
        f"  -d '{body}'",
    ]
