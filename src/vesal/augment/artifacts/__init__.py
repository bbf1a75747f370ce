"""Artefacts of acquisition: parameters, severities and arithmetic."""
