"""Fine-tuning: a training that begins with a model."""
