"""Backups: points in time of an archive, each restorable by itself, kept as blobs that they share."""
