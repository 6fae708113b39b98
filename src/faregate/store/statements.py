"""The texts that run on every call, and the columns they share. One placeholder style, `?`, and no dialect.

A driver for another database translates `?` and nothing else, so no text here has a literal `?` or `%`, and none
relies on RETURNING, on ON CONFLICT or on a function that only one database has. Each names its wallet.
"""

from typing import Final

READ_FUNDS: Final = """
SELECT a.posted, a.held, a.floor, a.moves, k.revoked_at, k.expires_at, b.lost, b.since,
  k.quota, k.spend_5h, k.spend_1d, k.spend_7d,
  k.concurrency, k.requests_per_minute, k.input_tokens_per_minute, k.output_tokens_per_minute
FROM key k JOIN account a ON a.wallet_id = k.wallet_id AND a.id = k.wallet_id
LEFT JOIN abandoned b ON b.wallet_id = k.wallet_id AND b.key_id = k.id
WHERE k.wallet_id = ? AND k.id = ?
"""

READ_LIMITS: Final = """
SELECT name, id, posted - held, moves, ends_at FROM account WHERE wallet_id = ? AND key_id = ? AND ends_at > ?
"""

OPEN_LIMIT: Final = """
INSERT INTO account(wallet_id, id, kind, name, key_id, floor, created_at, ends_at) VALUES (?, ?, 'limit', ?, ?, 0, ?, ?)
"""

RECEIPT_COLUMNS: Final = """
id, request_id, wallet_id, key_id, state, outcome, model, input, output, cache_read, cache_write_5m, cache_write_1h,
basis, price_id, held, charged, shortfall, attempts, created_at, settled_at, upstream, tier
"""

READ_RECEIPT: Final = f"SELECT {RECEIPT_COLUMNS} FROM charge WHERE wallet_id = ? AND id = ?"  # noqa: S608 - constants

READ_REPEATED: Final = f"""
SELECT body_sha256, {RECEIPT_COLUMNS} FROM charge WHERE wallet_id = ? AND idem_key = ?
"""  # noqa: S608 - constants

TAKE_CHARGE: Final = """
INSERT INTO charge(wallet_id, id, key_id, request_id, idem_key, body_sha256, model, price_id, held, estimated, node,
  incarnation, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

TAKE_HOLD: Final = "INSERT INTO hold(wallet_id, charge_id, account_id, seq, amount) VALUES (?, ?, ?, ?, ?)"

STREAMING: Final = "UPDATE charge SET state = 'streaming' WHERE wallet_id = ? AND id = ? AND state = 'reserved'"

SETTLE: Final = """
UPDATE charge SET state = 'settled', outcome = ?, input = ?, output = ?, cache_read = ?, cache_write_5m = ?,
  cache_write_1h = ?, basis = ?, charged = ?, shortfall = ?, settle_idem = ?, shortfall_idem = ?, upstream = ?,
  attempts = ?, settled_at = ?
WHERE wallet_id = ? AND id = ? AND settled_at IS NULL
"""

RELEASE: Final = """
UPDATE charge SET state = 'released', idem_key = NULL, outcome = ?, input = ?, output = ?, cache_read = ?,
  cache_write_5m = ?, cache_write_1h = ?, basis = ?, upstream = ?, attempts = ?, settled_at = ?
WHERE wallet_id = ? AND id = ? AND settled_at IS NULL
"""

KEEP_ANSWER: Final = "INSERT INTO answer(wallet_id, charge_id, kept_until, headers, body) VALUES (?, ?, ?, ?, ?)"

READ_ANSWER: Final = """
SELECT kept_until, headers, body FROM answer WHERE wallet_id = ? AND charge_id = ? AND kept_until > ?
"""

FORGET_ANSWER: Final = "DELETE FROM answer WHERE wallet_id = ? AND charge_id = ?"

READ_STATE: Final = "SELECT state FROM charge WHERE wallet_id = ? AND id = ?"

READ_LOSS: Final = "SELECT id FROM transfer WHERE wallet_id = ? AND idem = ?"

TRANSFER: Final = """
INSERT INTO transfer(wallet_id, idem, kind, debit_id, credit_id, amount, charge_id, at, memo)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

PAY_LIMITS: Final = """
INSERT INTO transfer(wallet_id, idem, kind, debit_id, credit_id, amount, charge_id, at)
SELECT wallet_id, 'limit:' || charge_id || ':' || account_id, 'limit', account_id, 'limits', ?, charge_id, ?
FROM hold WHERE wallet_id = ? AND charge_id = ? AND account_id <> wallet_id
"""

COUNT_OPEN: Final = """
SELECT COUNT(*) FROM charge WHERE wallet_id = ? AND key_id = ? AND settled_at IS NULL AND tier = 'standard'
"""

READ_RATES: Final = "SELECT name, level, seen_at FROM rate WHERE wallet_id = ? AND key_id = ?"

FIRST_RATE: Final = "INSERT INTO rate(level, seen_at, wallet_id, key_id, name) VALUES (?, ?, ?, ?, ?)"

TAKE_RATE: Final = """
UPDATE rate SET level = ?, seen_at = ? WHERE wallet_id = ? AND key_id = ? AND name = ? AND level = ? AND seen_at = ?
"""

GIVE_BACK: Final = "UPDATE rate SET level = level + ? WHERE wallet_id = ? AND key_id = ? AND name = ?"

READ_ABANDONED: Final = "SELECT lost, since FROM abandoned WHERE wallet_id = ? AND key_id = ?"

FIRST_ABANDONED: Final = "INSERT INTO abandoned(lost, since, wallet_id, key_id) VALUES (?, ?, ?, ?)"

MORE_ABANDONED: Final = "UPDATE abandoned SET lost = ?, since = ? WHERE wallet_id = ? AND key_id = ?"

ORPHAN: Final = """
UPDATE charge SET state = 'orphaned' WHERE wallet_id = ? AND id = ? AND state IN ('reserved', 'streaming')
"""

READ_OPEN: Final = """
SELECT wallet_id, id, key_id, estimated, state FROM charge
WHERE settled_at IS NULL AND tier = 'standard' AND node = ? AND incarnation < ? ORDER BY wallet_id, id LIMIT ?
"""
