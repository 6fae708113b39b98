"""The table of the admin API.

    Verb(name, method, path, run, form, view)  ->  the routes (admin.py), the document (openapi.py)

The rule: the table is the API. There is no route that is not in it, so none can be missing from the document.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from faregate.edge import desk, forms, views
from faregate.edge.desk import Asked, Desk


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    method: str
    path: str
    """Below /admin/v1; `{name}` is the one thing that a path can name."""
    run: Callable[[Desk, Asked], Awaitable[msgspec.Struct]]
    view: type[msgspec.Struct]
    form: type[msgspec.Struct] | None = None
    """The body of a POST, the query of a GET."""
    status: int = 200

    @property
    def summary(self) -> str:
        """The first line of what the verb says of itself."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]


VERBS: Final = (
    Verb(
        name="createWallet",
        method="POST",
        path="/wallets",
        run=desk.wallet_create,
        form=forms.NewWallet,
        view=views.WalletView,
        status=201,
    ),
    Verb(name="listWallets", method="GET", path="/wallets", run=desk.wallet_list, view=views.WalletList),
    Verb(name="showWallet", method="GET", path="/wallets/{name}", run=desk.wallet_show, view=views.WalletView),
    Verb(
        name="topUpWallet",
        method="POST",
        path="/wallets/{name}/topups",
        run=desk.wallet_topup,
        form=forms.NewTopup,
        view=views.TransferView,
        status=201,
    ),
    Verb(
        name="adjustWallet",
        method="POST",
        path="/wallets/{name}/adjustments",
        run=desk.wallet_adjust,
        form=forms.NewAdjustment,
        view=views.TransferView,
        status=201,
    ),
    Verb(
        name="listTransfers",
        method="GET",
        path="/wallets/{name}/transfers",
        run=desk.wallet_transfers,
        form=forms.TransfersAsked,
        view=views.TransferList,
    ),
    Verb(
        name="createKey",
        method="POST",
        path="/keys",
        run=desk.key_create,
        form=forms.NewKey,
        view=views.IssuedKey,
        status=201,
    ),
    Verb(name="listKeys", method="GET", path="/keys", run=desk.key_list, form=forms.KeysAsked, view=views.KeyList),
    Verb(name="showKey", method="GET", path="/keys/{name}", run=desk.key_show, view=views.KeyView),
    Verb(name="revokeKey", method="POST", path="/keys/{name}/revoke", run=desk.key_revoke, view=views.KeyView),
    Verb(name="listPrices", method="GET", path="/prices", run=desk.price_list, view=views.PriceList),
    Verb(
        name="addPrice",
        method="POST",
        path="/prices",
        run=desk.price_add,
        form=forms.NewPrice,
        view=views.PriceView,
        status=201,
    ),
    Verb(name="listUsage", method="GET", path="/usage", run=desk.usage, form=forms.UsageAsked, view=views.UsagePage),
    Verb(name="listAccounts", method="GET", path="/accounts", run=desk.accounts, view=views.AccountList),
    Verb(name="auditBooks", method="GET", path="/audit", run=desk.audit, view=views.AuditView),
)
"""The API, whole."""
