"""Floor 4: from a model to a label map."""
