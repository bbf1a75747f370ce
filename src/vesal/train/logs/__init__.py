"""What a training tells while it runs: rows on disk, a live line, TensorBoard; and what is measured for them."""
