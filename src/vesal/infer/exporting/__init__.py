"""From torch's networks to graphs that other libraries compute."""
