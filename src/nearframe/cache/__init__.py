"""The node's memory: single flight and bounded caches."""
