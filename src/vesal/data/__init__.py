"""Floor 2: the data set, its cases, labels, fingerprint and folds."""
