"""Floor 5: from a plan to a model."""
