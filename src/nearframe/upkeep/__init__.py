"""Keeping the packs in order: compaction, and scrub."""
