"""The card of a model: what it is, what was measured of it, and what is not known."""
