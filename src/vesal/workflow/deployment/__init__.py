"""Models for places without torch."""
