"""Floor 3: networks, losses and the model file."""
