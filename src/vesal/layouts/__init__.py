"""The folder layouts in which people keep scans, and how each is recognised."""
