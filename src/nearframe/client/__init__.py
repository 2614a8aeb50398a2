"""The Python client: studies from the nearest node, each byte once, each byte proved.

`Client` syncs studies into a folder; `Study` reads them there. See ``docs/guide/client.md``.
"""

from __future__ import annotations

from nearframe.client.client import LEVELS, Client, SyncReport
from nearframe.client.export import Exported, Layout, export, exported_study, folder_in
from nearframe.client.folder import Folder
from nearframe.client.progress import Arrival, Progress
from nearframe.client.study import Preview, Study

__all__ = [
    "LEVELS",
    "Arrival",
    "Client",
    "Exported",
    "Folder",
    "Layout",
    "Preview",
    "Progress",
    "Study",
    "SyncReport",
    "export",
    "exported_study",
    "folder_in",
]
