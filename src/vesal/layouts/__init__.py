"""Folder layouts of labelled scans, and how each is recognised."""
