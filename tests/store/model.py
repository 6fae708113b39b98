"""The ledger as a few integers: what the machine holds the database against. It shares no arithmetic with it."""

from dataclasses import dataclass, field


@dataclass
class Call:
    id: str
    key: str
    wallet: str
    idem: str | None
    body: bytes
    held: int = 0
    tokens: int = 0
    state: str = "open"
    lost: bool = False
    caps: list[str] = field(default_factory=list)


class Model:
    """Each verb changes it and says None, or changes nothing and says why not."""

    def __init__(self, wallets: dict[str, int], keys: dict[str, tuple[str, dict[str, int]]]) -> None:
        self.floors = wallets
        self.keys = keys
        self.posted = dict.fromkeys(wallets, 0)
        self.calls: dict[str, Call] = {}
        self.moved: dict[str, tuple[str, int]] = {}
        self.spent = {(key, cap): 0 for key, (_, caps) in keys.items() for cap in caps}
        self.windows: set[tuple[str, str]] = {(key, cap) for key, cap in self.spent if cap == "quota"}
        """Caps that have an account: a quota from the start, a window from its first call."""
        self.operator = dict.fromkeys(
            ("world", "revenue", "limits", "promo", "shortfall", "crash_loss", "error_loss", "abandon_loss"), 0
        )
        for key, cap in self.windows:
            self.operator["limits"] -= keys[key][1][cap]

    def held(self, wallet: str) -> int:
        return sum(call.held for call in self.calls.values() if call.wallet == wallet and call.state == "open")

    def unheld(self, wallet: str) -> int:
        return self.posted[wallet] - self.held(wallet)

    def spendable(self, wallet: str) -> int:
        return self.unheld(wallet) - self.floors[wallet]

    def left(self, key: str, cap: str) -> int:
        open_ = sum(call.held for call in self.calls.values() if call.key == key and call.state == "open")
        return self.keys[key][1][cap] - self.spent[key, cap] - open_

    def caps_opened(self) -> dict[tuple[str, str], int]:
        return {(key, cap): self.left(key, cap) for key, cap in self.windows}

    def move(self, reference: str, wallet: str, amount: int) -> str | None:
        if reference in self.moved:
            return None if self.moved[reference] == (wallet, amount) else "other"
        if amount < 0 and self.spendable(wallet) + amount < 0:
            return "short"
        self.moved[reference] = (wallet, amount)
        self.posted[wallet] += amount
        self.operator["world"] -= amount
        return None

    def reserve(self, call: Call, ceiling: int, price: int, most: int, least: int) -> str | None:
        for other in self.calls.values():
            if call.idem is not None and (other.wallet, other.idem) == (call.wallet, call.idem):
                if other.body != call.body:
                    return "mismatch"
                return "done" if other.state == "settled" else "in flight"
        caps = self.keys[call.key][1]
        bounds = {"wallet": self.spendable(call.wallet)}
        bounds |= {cap: self.left(call.key, cap) for cap in ("quota", "spend_5h") if cap in caps}
        for name, bound in bounds.items():
            if bound < ceiling + least * price:
                return name
        tokens = min(most, (min(bounds.values()) - ceiling) // price)
        for cap in caps:
            if (call.key, cap) not in self.windows:
                self.windows.add((call.key, cap))
                self.operator["limits"] -= caps[cap]
        call.tokens, call.held, call.caps = tokens, ceiling + tokens * price, list(caps)
        self.calls[call.id] = call
        return None

    def settle(self, id_: str, charged: int, shortfall: int, lost: int) -> str | None:
        call = self.calls[id_]
        if call.state != "open":
            return "given back" if call.state == "released" else None
        call.state = "settled"
        self.posted[call.wallet] -= charged
        for cap in call.caps:
            self.spent[call.key, cap] += charged
            self.operator["limits"] += charged
        self.operator["revenue"] += charged + shortfall
        self.operator["shortfall"] -= shortfall
        self._lose(call, "abandon_loss", lost)
        return None

    def release(self, id_: str, lost: int) -> bool:
        call = self.calls[id_]
        if call.state != "open":
            return False
        call.state, call.idem = "released", None
        self._lose(call, "error_loss", lost)
        return True

    def lose(self, id_: str, lost: int) -> str | None:
        call = self.calls[id_]
        if call.state == "open":
            return "open"
        if not call.lost:
            self._lose(call, "abandon_loss", lost)
        return None

    def _lose(self, call: Call, name: str, amount: int) -> None:
        if amount:
            call.lost = True
            self.operator[name] -= amount
            self.operator["revenue"] += amount
