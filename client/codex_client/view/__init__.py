"""What a person or a program sees of a session: rows and deltas in, text out. Nothing here speaks to a server."""
