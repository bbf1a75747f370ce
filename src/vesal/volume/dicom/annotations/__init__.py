"""Segmentations, structure sets and reports: read, and written as objects of the scan that they belong to."""
