"""The ledger's own verbs on the real schema against a model of a few integers: any order of them keeps the books right.

Method: a Hypothesis state machine calls what the committer calls (reserve, settle, release, lose, move), a transaction
each, on three wallets and four keys, and forces its way past them in raw SQL. The database must take exactly what the
model affords and refuse the rest with the model's reason, every balance must be the model's after each step, and the
audit must find nothing.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from faregate.core.errors import (
    Conflict,
    GatewayError,
    InFlight,
    Internal,
    NotReady,
    PaymentRequired,
    RateLimited,
    Repeated,
    Unsupported,
)  # fmt: skip
from faregate.core.ledger import Basis, Lose, Loss, Outcome, Release, Reserve, Settle
from faregate.core.money import Nanos
from faregate.store import audit, keys, reserve, settle, sweep, wallets
from faregate.store.database import Connection
from faregate.wire.usage import Usage
from tests.store.books import key
from tests.store.model import Call, Model
from tests.store.raw import INTEGRITY, PostgresRaw, Raw, SqliteRaw

AT = 1_000
PRICE = 7
"""Per token of output that is held; each nanodollar that is charged is one token of input at the price `p`."""
WALLETS = {"w1": 0, "w2": -500, "w3": 0}
"""And their floors."""
KEYS: dict[str, tuple[str, dict[str, int]]] = {
    "plain": ("w1", {}),
    "capped": ("w1", {"quota": 4_000}),
    "windowed": ("w2", {"quota": 9_000, "spend_5h": 3_000}),
    "other": ("w3", {}),
}
AUDITED_EVERY = 10
"""Steps: the audit reads everything, and the balances are looked at after each."""

names = st.sampled_from(sorted(KEYS))
amounts = st.integers(1, 3_000)
bounds = st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda pair: (min(pair), max(pair)))
"""The fewest tokens that a call takes, and the most that it wants."""
repeats = st.tuples(st.sampled_from([None, None, "i1", "i2"]), st.sampled_from([b"a", b"a", b"b"]))
"""An idempotency key, and a body."""


class Books(RuleBasedStateMachine):
    calls: Bundle[str] = Bundle("calls")
    steps: ClassVar[int] = 0
    """Of all lives, of each subclass its own."""

    def begin(self) -> Raw:
        """An empty ledger. A subclass says where."""
        raise NotImplementedError

    @initialize()
    def furnish(self) -> None:
        self.raw = self.begin()
        self.model = Model(WALLETS, KEYS)
        self.model.operator["world"] -= 1_000  # for the wallet that every ledger of these tests has
        self.count = self.moves = self.age = 0
        for name, floor in WALLETS.items():
            opening = wallets.Opening(wallet_id=name, name=name, floor=Nanos(floor), at_ms=AT)
            assert not isinstance(self.asks(partial(wallets.open_wallet, opening=opening)), GatewayError)
        for name, (wallet, caps) in KEYS.items():
            made = key(id=name, wallet_id=wallet, name=name, created_at_ms=AT, **caps)
            assert self.asks(partial(keys._create, command=(made, name.encode().ljust(32)))) is None

    def asks(self, verb: Callable[[Connection], Any]) -> Any:
        """One command in one transaction: its answer, or its refusal."""
        try:
            with self.raw.transaction():
                return verb(self.raw.connection)
        except GatewayError as refusal:
            return refusal

    def forces(self, *statements: str) -> bool:
        """Whether the database takes what no program of ours would write."""
        try:
            self.raw.do(*statements)
        except INTEGRITY:
            return False
        return True

    # What callers and operators do --------------------------------------------------------------------------------

    @rule(wallet=st.sampled_from(sorted(WALLETS)), amount=st.integers(-3_000, 6_000).filter(bool), again=st.booleans())
    def move(self, wallet: str, amount: int, again: bool) -> None:  # noqa: FBT001 - drawn
        self.moves += not again
        movement = wallets.Movement(
            kind="adjust", wallet=wallet, amount=Nanos(amount), note="n", reference=f"m{self.moves}", at_ms=AT
        )
        told = self.asks(lambda at: wallets.move(at, movement))
        self.expect(
            told, self.model.move(f"m{self.moves}", wallet, amount), {"short": PaymentRequired, "other": Conflict}
        )

    @rule(target=calls, name=names, ceiling=st.integers(0, 2_000), tokens=bounds, repeat=repeats)
    def reserve(self, name: str, ceiling: int, tokens: tuple[int, int], repeat: tuple[str | None, bytes]) -> Any:
        (least, most), (idem, body) = tokens, repeat
        self.count += 1
        id_, wallet = f"c{self.count}", KEYS[name][0]
        command = Reserve(
            charge_id=id_, wallet_id=wallet, key_id=name, request_id="r", model="small", price_id="p",
            body_sha256=body * 32, idempotency_key=idem, input_ceiling=Nanos(ceiling), output_price=Nanos(PRICE),
            max_tokens=most, min_tokens=least, estimated=Nanos(ceiling), at_ms=AT,
        )  # fmt: skip
        told = self.asks(lambda at: reserve.reserve(at, command, ("main", 1)))
        expected = self.model.reserve(Call(id_, name, wallet, idem, body), ceiling, PRICE, most, least)
        self.expect(told, expected, {
            "mismatch": Unsupported, "done": Repeated, "in flight": InFlight, "quota": PaymentRequired,
            "wallet": PaymentRequired, "spend_5h": RateLimited,
        })  # fmt: skip
        if expected:
            return multiple()
        call = self.model.calls[id_]
        assert (told.held, told.max_tokens, told.available) == (call.held, call.tokens, self.model.unheld(wallet))
        return id_

    @rule(id_=calls, cost=st.integers(0, 4_000), lost=st.integers(0, 50))
    def settle(self, id_: str, cost: int, lost: int) -> None:
        call = self.model.calls[id_]
        charged = min(cost, call.held)
        command = Settle(
            charge_id=id_, wallet_id=call.wallet, key_id=call.key, outcome=Outcome.OK, usage=Usage(input=cost),
            basis=Basis.UPSTREAM, charged=Nanos(charged), shortfall=Nanos(cost - charged), loss=Loss.ABANDON,
            loss_amount=Nanos(lost), at_ms=AT,
        )  # fmt: skip
        told = self.asks(lambda at: settle.settle(at, command, limited=True))
        self.expect(told, self.model.settle(id_, charged, cost - charged, lost), {"given back": Internal})

    @rule(id_=calls, lost=st.integers(0, 50))
    def release(self, id_: str, lost: int) -> None:
        call = self.model.calls[id_]
        command = Release(
            charge_id=id_, wallet_id=call.wallet, key_id=call.key, outcome=Outcome.UPSTREAM_ERROR,
            loss=Loss.ERROR, loss_amount=Nanos(lost), at_ms=AT,
        )  # fmt: skip
        assert self.asks(lambda at: settle.release(at, command)) == self.model.release(id_, lost)

    @rule(id_=calls, lost=st.integers(1, 50))
    def lose(self, id_: str, lost: int) -> None:
        call = self.model.calls[id_]
        command = Lose(charge_id=id_, wallet_id=call.wallet, key_id=call.key, loss=Loss.ABANDON,
                       loss_amount=Nanos(lost), at_ms=AT)  # fmt: skip
        told = self.asks(lambda at: settle.lose(at, command))
        self.expect(told, self.model.lose(id_, lost), {"open": NotReady})

    @rule(id_=calls, to=st.sampled_from(["streaming", "orphaned"]))
    def pass_on(self, id_: str, to: str) -> None:
        call = self.model.calls[id_]
        if to == "orphaned":
            found = sweep.Open(call.wallet, id_, call.key, 0, orphaned=False)
            self.asks(lambda at: sweep._orphan(at, found))
        else:
            self.asks(lambda at: at.execute(
                "UPDATE charge SET state = 'streaming' WHERE wallet_id = ? AND id = ? AND state = 'reserved'",
                (call.wallet, id_)))  # fmt: skip

    # What nobody may do -------------------------------------------------------------------------------------------

    @rule(id_=calls, more=amounts)
    def overcharge(self, id_: str, more: int) -> None:
        call = self.model.calls[id_]
        row = self.raw.transfer(f"settle:{id_}", "settle", ("wal_1", "revenue"), call.held + more, id_)
        assert not self.forces(self.raw.settled(id_, call.held + more), row.replace("'wal_1'", f"'{call.wallet}'"))

    @rule(id_=calls)
    def settle_without_a_row(self, id_: str) -> None:
        assert not self.forces(self.raw.settled(id_, 1))

    @rule(id_=calls, statement=st.sampled_from([
        "UPDATE hold SET closed = NULL WHERE charge_id = '{}' AND closed IS NOT NULL",
        "UPDATE hold SET amount = amount + 1 WHERE charge_id = '{}'",
        "UPDATE charge SET held = held + 1 WHERE id = '{}'",
        "UPDATE charge SET state = 'reserved', settled_at = NULL, outcome = NULL WHERE id = '{}' AND outcome = 'ok'",
        "DELETE FROM hold WHERE charge_id = '{}'",
        "UPDATE charge SET attempts = attempts + 1 WHERE id = '{}' AND settled_at IS NOT NULL",
    ]))  # fmt: skip
    def tamper(self, id_: str, statement: str) -> None:
        table = statement.split()[2 if statement.startswith("DELETE") else 1]
        where = statement[statement.index("WHERE") :].format(id_)
        if self.raw.one(f"SELECT COUNT(*) FROM {table} {where}"):
            assert not self.forces(statement.format(id_))

    @rule(wallet=st.sampled_from(sorted(WALLETS)), change=st.sampled_from(["posted = posted + 1", "held = held + 1",
          "moves = moves + 1", "last_transfer = last_transfer + 1"]))  # fmt: skip
    def invent(self, wallet: str, change: str) -> None:
        assert not self.forces(f"UPDATE account SET {change} WHERE id = '{wallet}'")

    @rule(wallet=st.sampled_from(sorted(WALLETS)), more=amounts)
    def overdraw(self, wallet: str, more: int) -> None:
        row = self.raw.transfer(f"ref:o{self.count}", "adjust", ("wal_1", "world"), self.model.spendable(wallet) + more)
        assert not self.forces(row.replace("'wal_1'", f"'{wallet}'"))

    # What is always so --------------------------------------------------------------------------------------------

    @invariant()
    def the_books_are_the_models(self) -> None:
        if not hasattr(self, "raw"):
            return
        type(self).steps += 1
        self.age += 1
        at = self.raw.connection
        for name, floor in WALLETS.items():
            row = at.execute("SELECT posted, held FROM account WHERE wallet_id = ? AND id = ?", (name, name)).fetchone()
            assert tuple(row) == (self.model.posted[name], self.model.held(name)), name
            assert row[0] - row[1] >= floor
        caps = at.execute("SELECT key_id, name, posted - held FROM account WHERE kind = 'limit'").fetchall()
        assert {(owner, name): left for owner, name, left in caps} == self.model.caps_opened()
        assert wallets.operator_accounts(at) == self.model.operator
        if self.age % AUDITED_EVERY == 0:
            self.audit()

    def audit(self) -> None:
        broken = [rule.name for rule in audit.RULES if self.raw.connection.execute(rule.query).fetchone() is not None]
        assert broken == []

    def teardown(self) -> None:
        if hasattr(self, "raw"):
            self.audit()
            self.end()

    def end(self) -> None:
        """Leave the ledger."""

    @staticmethod
    def expect(told: Any, refusal: str | None, kinds: dict[str, type[GatewayError]]) -> None:
        if refusal is None:
            assert not isinstance(told, GatewayError), told
        else:
            assert type(told).__mro__.count(kinds[refusal]), (told, refusal)


class OnSqlite(Books):
    def begin(self) -> Raw:
        return SqliteRaw(None)

    def end(self) -> None:
        self.raw.close()


class OnPostgres(Books):
    url: ClassVar[str] = ""
    shared: ClassVar[PostgresRaw | None] = None
    """One connection for all lives; each begins with an empty ledger."""

    def begin(self) -> Raw:
        cls = type(self)
        if cls.shared is None:
            cls.shared = PostgresRaw(cls.url)
        cls.shared.empty()
        return cls.shared


@contextlib.contextmanager
def on_postgres(url: str) -> Iterator[type[OnPostgres]]:
    """The machine on a database of its own."""

    class Here(OnPostgres):
        pass

    Here.url = url
    try:
        yield Here
    finally:
        if Here.shared is not None:
            Here.shared.close()
