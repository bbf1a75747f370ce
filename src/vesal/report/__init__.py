"""Floor 6: pictures and pages."""
