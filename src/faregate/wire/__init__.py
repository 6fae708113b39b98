"""Floor 1, what travels: requests, answers, stream events, and the error envelope."""
