"""Jobs of the server: accepted, kept, computed in a process of their own, and cleared away."""
