"""Floor 5: from predictions and truth to scores."""
