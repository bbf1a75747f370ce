"""Planning and training, as the verbs do it."""
