"""A server: scans come by HTTP or from an archive, results go back."""
