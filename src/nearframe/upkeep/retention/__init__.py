"""Retention: how long studies are kept, by rules, and what becomes of those whose time is over."""
