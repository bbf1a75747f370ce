"""One file a defect, or a few of one cause: how it is found, and how it is fixed (see `vesal.audit.defect`)."""
