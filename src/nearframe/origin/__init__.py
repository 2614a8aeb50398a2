"""The archive: ingest, change feed, background work."""
