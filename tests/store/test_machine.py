"""The schema against a model: any order of top-ups, holds, settles and releases keeps the books right.

Method: a Hypothesis state machine drives the real schema in raw SQL and a model of a few integers beside it. The
database must take exactly what the model affords, and the audit's own SQL must find nothing after each step.
"""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from faregate.store import audit
from tests.store.books import WALLET
from tests.store.raw import INTEGRITY, SqliteRaw


class Books(RuleBasedStateMachine):
    charges: Bundle[Any] = Bundle("charges")

    @initialize()
    def begin(self) -> None:
        self.raw = SqliteRaw(None)
        self.count = 0
        self.posted = 1_000
        self.open: dict[str, int] = {}
        self.ended: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "raw"):
            self.raw.close()

    @property
    def available(self) -> int:
        return self.posted - sum(self.open.values())

    def took(self, *statements: str) -> bool:
        try:
            self.raw.do(*statements)
        except INTEGRITY:
            return False
        return True

    @rule(amount=st.integers(1, 3_000))
    def topup(self, amount: int) -> None:
        self.count += 1
        assert self.took(self.raw.transfer(f"ref:t{self.count}", "topup", ("world", WALLET), amount))
        self.posted += amount

    @rule(amount=st.integers(1, 3_000))
    def withdraw(self, amount: int) -> None:
        self.count += 1
        taken = self.took(self.raw.transfer(f"ref:t{self.count}", "adjust", (WALLET, "world"), amount))
        assert taken == (amount <= self.available)
        self.posted -= amount if taken else 0

    @rule(target=charges, amount=st.integers(0, 3_000))
    def reserve(self, amount: int) -> str:
        self.count += 1
        name = f"c{self.count}"
        taken = self.took(self.raw.charge(name, amount), self.raw.hold(name, amount))
        assert taken == (amount <= self.available)
        if taken:
            self.open[name] = amount
        return name

    @rule(name=charges)
    def stream(self, name: str) -> None:
        self.took(f"UPDATE charge SET state = 'streaming' WHERE id = '{name}' AND state = 'reserved'")

    @rule(name=charges)
    def orphan(self, name: str) -> None:
        self.took(f"UPDATE charge SET state = 'orphaned' WHERE id = '{name}' AND state IN ('reserved', 'streaming')")

    @rule(name=charges, cost=st.integers(0, 4_000))
    def settle(self, name: str, cost: int) -> None:
        held = self.open.get(name)
        charged = min(cost, held or 0)
        statements = [self.raw.settled(name, charged, cost - charged)]
        if charged:
            statements.append(self.raw.transfer(f"settle:{name}", "settle", (WALLET, "revenue"), charged, name))
        if cost > charged:
            short = self.raw.transfer(f"shortfall:{name}", "shortfall", ("shortfall", "revenue"), cost - charged, name)
            statements.append(short)
        taken = self.took(*statements)
        if held is None:
            assert not taken or name not in self.ended
        else:
            assert taken
            self.posted -= charged
            self.end(name)

    @rule(name=charges, cost=st.integers(1, 4_000))
    def overcharge(self, name: str, cost: int) -> None:
        held = self.open.get(name, 0)
        row = self.raw.transfer(f"settle:{name}", "settle", (WALLET, "revenue"), held + cost, name)
        assert not self.took(self.raw.settled(name, held + cost), row)

    @rule(name=charges)
    def release(self, name: str) -> None:
        taken = self.took(self.raw.released(name))
        if name in self.open:
            assert taken
            self.end(name)
        else:
            assert not taken or name not in self.ended

    def end(self, name: str) -> None:
        del self.open[name]
        self.ended.add(name)

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "raw"):
            return
        posted, held = self.raw.connection.execute(
            "SELECT posted, held FROM account WHERE id = ?", (WALLET,)
        ).fetchone()
        assert (posted, held) == (self.posted, sum(self.open.values()))
        broken = [rule.name for rule in audit.RULES if self.raw.connection.execute(rule.query).fetchone() is not None]
        assert broken == []


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
