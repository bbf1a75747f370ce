"""What each verb takes, for Python and for the command line: nothing heavy is imported here."""
