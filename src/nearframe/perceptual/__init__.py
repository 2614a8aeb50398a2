"""Perceptual hashes: they propose candidates and never decide identity."""
