"""How far windows overlap; apart from the windows, so that the command line reads it without torch."""

#: Share of a window that its neighbour covers again (nnU-Net).
OVERLAP = 0.5
