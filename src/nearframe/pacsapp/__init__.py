"""The composition root of an edge in front of an archive that is none of ours."""

from nearframe.pacsapp.node import open_pacs_edge

__all__ = ["open_pacs_edge"]
