"""Convolutions and norms that are faster than torch's on a CPU."""
