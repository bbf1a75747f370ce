"""Floor 1: a picture in space (numpy, no torch)."""
