"""Floor 4, the story: one request from the door to the settled charge."""
