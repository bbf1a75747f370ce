"""File formats of volumes and 2D images."""
