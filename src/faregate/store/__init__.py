"""Floor 3, what we remember: the ledger, keys, prices and receipts, and the one writer that commits them."""
