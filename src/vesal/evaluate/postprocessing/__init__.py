"""Which post-processing steps the held-out cases support."""
