"""Layouts in which each case has its own files or folder, without a description of the whole."""
