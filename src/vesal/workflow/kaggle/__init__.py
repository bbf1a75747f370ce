"""A run on Kaggle: the kernel that is exported, and the session there."""
