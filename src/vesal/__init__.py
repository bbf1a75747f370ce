"""Vesal: from a folder of labelled medical scans to a segmenter that can be trusted."""

__version__ = "0.1.0"
