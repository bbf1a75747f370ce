"""The command line: verbs only, no logic.

Nothing heavy is imported before a verb runs, so `vesal --help` is quick and loads no torch.
"""

from vesal.cli.app import main

__all__ = ["main"]
