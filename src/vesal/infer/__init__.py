"""Floor 4: from a model to a label map."""

#: In a fold's folder: its training came to the end, and what it held out is predicted. Here, apart from the networks,
#: for those that look into runs and need no torch.
FINISHED = "finished.json"
