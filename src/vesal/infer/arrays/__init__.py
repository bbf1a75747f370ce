"""Arithmetic on windows and logits by numpy or by torch: one account of prediction for both."""
