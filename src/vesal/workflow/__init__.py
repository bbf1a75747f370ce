"""Floor 7: what each verb does, end to end."""
