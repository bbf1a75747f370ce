"""From archive to archive: studies are found or received, fetched, predicted, and their results stored, once each."""
