"""Sealed packs of contents and the catalogue."""
