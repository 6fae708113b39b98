"""Floor 3, whom we ask: the port, the one HTTP client, and an adapter for each kind of upstream."""
