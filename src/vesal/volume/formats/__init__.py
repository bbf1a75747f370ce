"""File formats of volumes and pictures."""
