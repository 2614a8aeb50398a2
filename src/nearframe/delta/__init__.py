"""Frames made from frames that the receiver holds: exact bytes, proved by digest on both sides."""
