"""Bytes to values and back: no socket, file, clock or randomness."""
