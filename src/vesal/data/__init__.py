"""Floor 2: what we have."""
