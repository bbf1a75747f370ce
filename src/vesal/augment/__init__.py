"""Floor 3: changes of an image and its label on tensors, batched, on any device."""
