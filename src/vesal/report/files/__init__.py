"""Text files beside a run: summary and history."""
