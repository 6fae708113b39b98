"""The verbs of the admin API: each takes its form, asks the store, and gives a view.

The rule: a verb decides nothing about money. It makes ids and times, names what is wrong with a form, and leaves the
rest to the store, which takes each as one transaction. The first line of its docstring is what the document says.
"""

import difflib
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC
from typing import Any

import msgspec

from faregate.core.access import ALPHABET, ID_CHARS, SECRET_CHARS, Key, compose
from faregate.core.costs import Costs
from faregate.core.errors import InvalidRequest, NotReady
from faregate.core.ids import CHANCE_BITS, ulid
from faregate.core.ledger import OPERATOR_ACCOUNTS, Receipt
from faregate.core.money import Nanos, show_credits
from faregate.core.pricing import COLUMNS, PriceVersion
from faregate.core.shown import moment
from faregate.edge import forms, views
from faregate.edge.forms import amount, column, instant
from faregate.store.port import Office, Prices, Records, Transfer


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What the verbs work with."""

    office: Office
    records: Records
    prices: Prices
    models: Callable[[str], str | None]
    """The catalog's id of a model by its id or alias; None where it has none."""
    costs: Costs = msgspec.field(default_factory=Costs)
    """What upstreams cost."""
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    new_id: Callable[[str, int], str] = lambda prefix, now_ms: prefix + ulid(now_ms, secrets.randbits(CHANCE_BITS))


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, decoded: the name in its path, and its body or query as the verb's form."""

    name: str = ""
    form: Any = None


async def wallet_create(desk: Desk, asked: Asked) -> views.WalletView:
    """Open an empty wallet."""
    form: forms.NewWallet = asked.form
    floor = amount("floor", form.floor)
    if floor > 0:
        raise InvalidRequest("floor: may be 0 or below, since a new wallet is empty")
    now = desk.now_ms()
    wallet = await desk.office.wallet_create(wallet_id=desk.new_id("wal_", now), name=form.name, floor=floor, at_ms=now)
    return views.WalletView.of(wallet)


async def wallet_list(desk: Desk, _: Asked) -> views.WalletList:
    """Every wallet with its balance."""
    return views.WalletList([views.WalletView.of(wallet) for wallet in await desk.office.wallets()])


async def wallet_show(desk: Desk, asked: Asked) -> views.WalletView:
    """One wallet, by id or name."""
    return views.WalletView.of(await desk.office.wallet_find(asked.name))


async def wallet_topup(desk: Desk, asked: Asked) -> views.TransferView:
    """Put credits into a wallet."""
    form: forms.NewTopup = asked.form
    credit = amount("amount", form.amount)
    now = desk.now_ms()
    reference = form.reference or desk.new_id("top_", now)
    moving = desk.office.topup(asked.name, credit, note=form.note, reference=reference, at_ms=now)
    return await _moved(moving, reference)


async def wallet_adjust(desk: Desk, asked: Asked) -> views.TransferView:
    """Correct a wallet, up or down, with a note."""
    form: forms.NewAdjustment = asked.form
    difference = amount("amount", form.amount)
    now = desk.now_ms()
    reference = form.reference or desk.new_id("adj_", now)
    moving = desk.office.adjust(asked.name, difference, note=form.note, reference=reference, at_ms=now)
    return await _moved(moving, reference)


async def wallet_transfers(desk: Desk, asked: Asked) -> views.TransferList:
    """A wallet's transfers, newest first."""
    form: forms.TransfersAsked = asked.form
    rows = await desk.office.transfers(asked.name, limit=form.limit)
    return views.TransferList([views.TransferView.of(row) for row in rows])


async def key_create(desk: Desk, asked: Asked) -> views.IssuedKey:
    """Issue a key; it is shown in this answer and never again."""
    form: forms.NewKey = asked.form
    now = desk.now_ms()
    wallet = await desk.office.wallet_find(form.wallet)
    key_id = _random(ID_CHARS)
    written = compose(key_id, _random(SECRET_CHARS))
    limits = {name: getattr(form, name) for name in ("quota", "spend_5h", "spend_1d", "spend_7d")}
    key = Key(
        id=key_id,
        wallet_id=wallet.id,
        name=form.name or key_id,
        models=tuple(_known_model(desk, f"models.{place}", model) for place, model in enumerate(form.models)),
        allow_ips=_cidrs("allow_ips", form.allow_ips),
        deny_ips=_cidrs("deny_ips", form.deny_ips),
        created_at_ms=now,
        expires_at_ms=None if form.expires_at is None else instant("expires_at", form.expires_at),
        requests_per_minute=form.requests_per_minute,
        input_tokens_per_minute=form.input_tokens_per_minute,
        output_tokens_per_minute=form.output_tokens_per_minute,
        concurrency=form.concurrency,
        **{name: None if text is None else _cap(name, text) for name, text in limits.items()},
    )
    if key.expires_at_ms is not None and key.expires_at_ms <= now:
        raise InvalidRequest("expires_at: is in the past")
    kept = await desk.office.key_create(key, secret=written)
    return views.IssuedKey(key=written, id=kept.id, details=views.KeyView.of(kept))


async def key_list(desk: Desk, asked: Asked) -> views.KeyList:
    """Keys with their limits, of one wallet or of all."""
    form: forms.KeysAsked = asked.form
    wallet = None if form.wallet is None else (await desk.office.wallet_find(form.wallet)).id
    return views.KeyList([views.KeyView.of(key) for key in await desk.office.keys(wallet)])


async def key_show(desk: Desk, asked: Asked) -> views.KeyView:
    """One key, by its id."""
    return views.KeyView.of(await desk.office.key_find(asked.name))


async def key_revoke(desk: Desk, asked: Asked) -> views.KeyView:
    """Revoke a key, from its next call on."""
    return views.KeyView.of(await desk.office.key_revoke(asked.name, at_ms=desk.now_ms()))


async def price_list(desk: Desk, _: Asked) -> views.PriceList:
    """Every price version."""
    return views.PriceList([views.PriceView.of(version) for version in desk.prices.versions()])


async def price_add(desk: Desk, asked: Asked) -> views.PriceView:
    """Append a price version, in force now or later."""
    form: forms.NewPrice = asked.form
    valid_from_ms = desk.now_ms() if form.valid_from is None else instant("valid_from", form.valid_from)
    model = _known_model(desk, "model", form.model)
    version = PriceVersion(
        id=_price_id(model, valid_from_ms, {version.id for version in desk.prices.versions()}),
        model=model,
        valid_from_ms=valid_from_ms,
        **{name: column(name, getattr(form, name)) for name in COLUMNS},
    )
    return views.PriceView.of(await desk.office.price_add(version))


async def usage(desk: Desk, asked: Asked) -> views.UsagePage:
    """Calls and what they cost, newest first."""
    # Wallet by wallet, then merged: ids sort by time, so the newest of all are among the newest of each.
    form: forms.UsageAsked = asked.form
    if form.wallet is not None:
        wallets = [(await desk.office.wallet_find(form.wallet)).id]
    elif form.key is not None:
        wallets = [(await desk.office.key_find(form.key)).wallet_id]
    else:
        wallets = [wallet.id for wallet in await desk.office.wallets()]
    found: list[Receipt] = []
    more = False
    for wallet in wallets:
        page = await desk.records.usage(
            wallet,
            key_id=form.key,
            model=None if form.model is None else desk.models(form.model) or form.model,
            since_ms=None if form.since is None else instant("since", form.since),
            until_ms=None if form.until is None else instant("until", form.until),
            before=form.before,
            limit=form.limit,
        )
        found += page.receipts
        more = more or page.next is not None
    found.sort(key=lambda receipt: receipt.id, reverse=True)
    shown = found[: form.limit]
    more = more or len(found) > len(shown)
    calls = [views.CallView.with_cost(r, desk.costs.of(r.upstream, r.model, r.usage, r.created_at_ms)) for r in shown]
    return views.UsagePage(calls, shown[-1].id if more else None)


async def accounts(desk: Desk, _: Asked) -> views.AccountList:
    """The operator's accounts: revenue and the named losses."""
    balances = await desk.office.operator_accounts()
    return views.AccountList(
        [views.AccountView(name, show_credits(balances.get(name, 0))) for name in OPERATOR_ACCOUNTS]
    )


async def audit(desk: Desk, _: Asked) -> views.AuditView:
    """Prove the books."""
    findings = await desk.office.audit()
    return views.AuditView(clean=not any(finding.count for finding in findings), findings=findings)


async def _moved(moving: Awaitable[Transfer], reference: str) -> views.TransferView:
    try:
        return views.TransferView.of(await moving)
    except NotReady as refusal:
        if not refusal.unknown:
            raise
        # Whoever asked again without it might move money twice.
        raise NotReady(
            f"{refusal.message} Ask again with the reference {reference}: it moves nothing twice. Or look for it among "
            "the wallet's transfers.",
            code=refusal.code,
            details={**refusal.details, "reference": reference},
            retry_after_s=refusal.retry_after_s,
        ) from refusal


def _random(characters: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(characters))


def _cap(field: str, text: str) -> Nanos:
    cap = amount(field, text)
    if cap <= 0:
        raise InvalidRequest(f"{field}: must be above 0; leave it out for no limit")
    return cap


def _cidrs(field: str, cidrs: Iterable[str]) -> tuple[str, ...]:
    found = []
    for place, cidr in enumerate(cidrs):
        try:
            found.append(str(ipaddress.ip_network(cidr.strip(), strict=False)))
        except ValueError:
            raise InvalidRequest(f"{field}.{place}: {cidr!r} is not an address or a CIDR, as 10.0.0.0/8") from None
    return tuple(found)


def _known_model(desk: Desk, field: str, name: str) -> str:
    model = desk.models(name)
    if model is None:
        priced = sorted({version.model for version in desk.prices.versions()})
        near = difflib.get_close_matches(name, priced, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(priced)}"
        raise InvalidRequest(f"{field}: the catalog has no model {name!r}{hint}")
    return model


def _price_id(model: str, valid_from_ms: int, taken: set[str]) -> str:
    """Name a version by its day, as the shipped ones are; by its second where the day is taken."""
    begins = moment(valid_from_ms).astimezone(UTC)
    by_day = f"{model}@{begins:%Y-%m-%d}"
    return by_day if by_day not in taken else f"{model}@{begins:%Y-%m-%dT%H:%M:%SZ}"
