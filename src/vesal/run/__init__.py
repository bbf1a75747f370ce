"""The run folder: its files by name, what it holds, and the environment that made it."""
