"""Floor 1: images in space (numpy, no torch)."""
