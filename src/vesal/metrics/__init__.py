"""Floor 2: how good it is."""
