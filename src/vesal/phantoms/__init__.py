"""Synthetic scans with exact truth, of four kinds."""
