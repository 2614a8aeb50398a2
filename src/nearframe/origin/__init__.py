"""The archive: what only it looks after, and its background work."""
