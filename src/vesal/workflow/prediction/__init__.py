"""What becomes of the results of a prediction, and what its inputs are before they are scans."""
