"""The robustness benchmark, end to end."""
