"""Losses by name, all from one set of soft counts."""
