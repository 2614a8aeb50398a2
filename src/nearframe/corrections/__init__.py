"""Corrections: attributes, merges, moves, deletions, each a new version that moves no pixel."""
