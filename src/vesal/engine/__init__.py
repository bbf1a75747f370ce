"""Engines: many items on many workers that may die, here or on the nodes of a cluster."""
