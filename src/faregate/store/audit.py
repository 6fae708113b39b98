"""The audit: proof of the books with SQL of its own, one finding for each rule, zero everywhere when they are clean.

It reads one snapshot and believes nothing that is kept: every balance is summed anew. Each query gives the ids that
break its rule.
"""

from typing import Final

import msgspec

from faregate.store.database import Connection
from faregate.store.port import Finding

EXAMPLES_MAX: Final = 5


class Rule(msgspec.Struct, frozen=True):
    """What must be so, and the query for what is not."""

    name: str
    meaning: str
    query: str


RULES: Final = (
    Rule(
        "posted",
        "each wallet's and limit's posted balance is the sum of its transfers",
        """WITH moved(wallet_id, id, amount) AS (
          SELECT wallet_id, credit_id, amount FROM transfer
          UNION ALL SELECT wallet_id, debit_id, -amount FROM transfer),
        balance(wallet_id, id, amount) AS (SELECT wallet_id, id, SUM(amount) FROM moved GROUP BY wallet_id, id)
        SELECT a.id FROM account a LEFT JOIN balance b ON b.wallet_id = a.wallet_id AND b.id = a.id
        WHERE a.floor IS NOT NULL AND a.posted <> COALESCE(b.amount, 0)""",
    ),
    Rule(
        "sum",
        "all balances of all accounts together are zero: money moves, it is not made",
        # In two parts, dollars and the rest: all wallets together may hold more than an integer of SQLite does.
        """WITH operator(id) AS (SELECT id FROM account WHERE floor IS NULL), part(dollars, nanos) AS (
          SELECT posted / 1000000000, posted % 1000000000 FROM account WHERE floor IS NOT NULL
          UNION ALL SELECT amount / 1000000000, amount % 1000000000 FROM transfer
            WHERE credit_id IN (SELECT id FROM operator)
          UNION ALL SELECT -(amount / 1000000000), -(amount % 1000000000) FROM transfer
            WHERE debit_id IN (SELECT id FROM operator)
        )
        SELECT 'all accounts' FROM (SELECT SUM(dollars) AS dollars, SUM(nanos) AS nanos FROM part) total
        WHERE nanos % 1000000000 <> 0 OR dollars + nanos / 1000000000 <> 0""",
    ),
    Rule(
        "transfer_accounts",
        "each transfer is between two accounts that exist",
        """SELECT t.id FROM transfer t WHERE
        NOT EXISTS(SELECT 1 FROM account a WHERE a.wallet_id IN (t.wallet_id, 'operator') AND a.id = t.debit_id)
        OR NOT EXISTS(SELECT 1 FROM account a WHERE a.wallet_id IN (t.wallet_id, 'operator') AND a.id = t.credit_id)""",
    ),
    Rule(
        "held",
        "each account's held balance is the sum of its open holds",
        """SELECT a.id FROM account a LEFT JOIN (
          SELECT wallet_id, account_id, SUM(amount) AS amount FROM hold WHERE closed IS NULL
          GROUP BY wallet_id, account_id
        ) h ON h.wallet_id = a.wallet_id AND h.account_id = a.id WHERE a.held <> COALESCE(h.amount, 0)""",
    ),
    Rule(
        "floor",
        "nothing is below its floor",
        "SELECT id FROM account WHERE floor IS NOT NULL AND posted - held < floor",
    ),
    Rule(
        "open_hold",
        "a charge that has ended holds nothing",
        """SELECT c.id FROM charge c JOIN hold h ON h.wallet_id = c.wallet_id AND h.charge_id = c.id
        WHERE c.state IN ('settled', 'released') AND h.closed IS NULL""",
    ),
    Rule(
        "charge_hold",
        "each charge held on its wallet what its receipt says",
        """SELECT c.id FROM charge c LEFT JOIN hold h
          ON h.wallet_id = c.wallet_id AND h.charge_id = c.id AND h.account_id = c.wallet_id
        GROUP BY c.wallet_id, c.id, c.held HAVING c.held <> COALESCE(SUM(h.amount), 0)""",
    ),
    Rule(
        "capture",
        "nobody was charged more than was held",
        """SELECT c.id FROM charge c WHERE c.charged > (SELECT COALESCE(SUM(h.amount), 0) FROM hold h
        WHERE h.wallet_id = c.wallet_id AND h.charge_id = c.id AND h.account_id = c.wallet_id)""",
    ),
    Rule(
        "settle",
        "what each charge was charged, and its shortfall, are rows of the ledger",
        """SELECT c.id FROM charge c LEFT JOIN transfer t
          ON t.wallet_id = c.wallet_id AND t.idem IN ('settle:' || c.id, 'shortfall:' || c.id)
        GROUP BY c.wallet_id, c.id, c.charged, c.shortfall HAVING
          c.charged <> COALESCE(SUM(CASE WHEN t.kind = 'settle' AND t.debit_id = c.wallet_id THEN t.amount END), 0)
          OR c.shortfall <> COALESCE(SUM(CASE WHEN t.kind = 'shortfall' THEN t.amount END), 0)""",
    ),
    Rule(
        "limit",
        "each limit that a settled charge was held on paid what was charged",
        """SELECT c.id FROM charge c JOIN hold h ON h.wallet_id = c.wallet_id AND h.charge_id = c.id
          AND h.account_id <> c.wallet_id
        LEFT JOIN transfer t ON t.wallet_id = c.wallet_id AND t.idem = 'limit:' || c.id || ':' || h.account_id
        WHERE c.state IN ('settled', 'released') AND c.charged <> COALESCE(t.amount, 0)""",
    ),
    Rule(
        "transfer_charge",
        "each transfer of a charge belongs to one that has ended, and only settled ones cost",
        """SELECT t.id FROM transfer t LEFT JOIN charge c ON c.wallet_id = t.wallet_id AND c.id = t.charge_id
        WHERE (t.charge_id IS NOT NULL OR t.kind IN ('settle', 'shortfall', 'loss', 'limit'))
          AND (c.id IS NULL OR c.state NOT IN ('settled', 'released')
            OR (c.state = 'released' AND t.kind <> 'loss'))""",
    ),
    Rule(
        "price",
        "each settled charge and its shortfall are its usage times its price version; of a batch, half, rounded down",
        """SELECT c.id FROM charge c LEFT JOIN price p ON p.id = c.price_id
        WHERE c.state = 'settled' AND (p.id IS NULL OR c.charged + c.shortfall <> (
          c.input * p.input + c.output * p.output + c.cache_read * p.cache_read
          + c.cache_write_5m * p.cache_write_5m + c.cache_write_1h * p.cache_write_1h
          ) / (CASE WHEN c.tier = 'batch' THEN 2 ELSE 1 END))""",
    ),
    Rule(
        "error_billed",
        "no error was billed",
        """SELECT id FROM charge WHERE (charged > 0 OR shortfall > 0)
        AND (state <> 'settled' OR outcome IS NULL OR outcome NOT IN ('ok', 'client_gone'))""",
    ),
    Rule(
        "batch_request",
        "each request of a batch has ended as its charge has: with a message where it was billed, and else without",
        """SELECT r.charge_id FROM batch_request r
        LEFT JOIN charge c ON c.wallet_id = r.wallet_id AND c.id = r.charge_id
        WHERE c.id IS NULL OR c.tier <> 'batch' OR c.state <> (CASE r.state WHEN 'succeeded' THEN 'settled'
          WHEN 'waiting' THEN 'reserved' WHEN 'running' THEN 'reserved' ELSE 'released' END)""",
    ),
    Rule(
        "batch_charge",
        "each open charge of a batch has a request that will end it",
        """SELECT c.id FROM charge c
        LEFT JOIN batch_request r ON r.wallet_id = c.wallet_id AND r.charge_id = c.id
        LEFT JOIN batch b ON b.wallet_id = r.wallet_id AND b.id = r.batch_id AND b.state <> 'ended'
        WHERE c.tier = 'batch' AND c.settled_at IS NULL AND b.id IS NULL""",
    ),
    Rule(
        "native_batch",
        "each request that an upstream's batch runs is in one of its own batch that has not ended",
        """SELECT r.charge_id FROM batch_request r
        LEFT JOIN native_batch n ON n.wallet_id = r.wallet_id AND n.id = r.node AND n.batch_id = r.batch_id
          AND n.state <> 'ended'
        WHERE r.state = 'running' AND r.incarnation = 0 AND n.id IS NULL""",
    ),
    Rule(
        "batch_counts",
        "each batch counts its requests as they are",
        """SELECT b.id FROM batch b LEFT JOIN batch_request r ON r.wallet_id = b.wallet_id AND r.batch_id = b.id
        WHERE b.archived_at IS NULL AND b.deleted_at IS NULL AND b.state <> 'creating'
        GROUP BY b.wallet_id, b.id, b.processing, b.succeeded, b.errored, b.canceled, b.expired
        HAVING b.processing <> COUNT(CASE WHEN r.state = 'waiting' OR r.state = 'running' THEN 1 END)
          OR b.succeeded <> COUNT(CASE WHEN r.state = 'succeeded' THEN 1 END)
          OR b.errored <> COUNT(CASE WHEN r.state = 'errored' THEN 1 END)
          OR b.canceled <> COUNT(CASE WHEN r.state = 'canceled' THEN 1 END)
          OR b.expired <> COUNT(CASE WHEN r.state = 'expired' THEN 1 END)""",
    ),
)


def run(connection: Connection) -> list[Finding]:
    """Audit the books as this connection sees them: one state of the database for all rules."""
    return [_finding(connection, rule) for rule in RULES]


def _finding(connection: Connection, rule: Rule) -> Finding:
    count, examples = 0, []
    for (id_,) in connection.execute(rule.query):
        count += 1
        if count <= EXAMPLES_MAX:
            examples.append(str(id_))
    return Finding(rule=rule.name, meaning=rule.meaning, count=count, examples=examples)
