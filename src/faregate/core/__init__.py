"""Floor 2, the rules, pure: no await, clock, chance, environment, logging or I/O."""
