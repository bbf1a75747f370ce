"""The card of a model, as files."""
