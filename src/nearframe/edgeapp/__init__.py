"""The composition root of an edge."""

from nearframe.edgeapp.node import open_edge

__all__ = ["open_edge"]
