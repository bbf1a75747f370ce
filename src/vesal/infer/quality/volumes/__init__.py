"""The volume of each class with an interval around it."""
