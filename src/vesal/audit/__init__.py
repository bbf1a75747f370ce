"""What is wrong with a data set: each defect's rule, its message and its fix."""
