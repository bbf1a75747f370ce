"""What artefacts cost: statistics, results and limits."""
