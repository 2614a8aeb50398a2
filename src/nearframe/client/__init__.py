"""The Python client: studies from the nearest node, each byte once, each byte proved.

`Client` syncs studies into a folder; `Study` reads them there. See ``docs/guide/client.md``.
"""

from __future__ import annotations

from nearframe.client.client import LEVELS, Client, SyncReport
from nearframe.client.folder import Folder
from nearframe.client.progress import Arrival, Progress
from nearframe.client.study import Preview, Study

__all__ = ["LEVELS", "Arrival", "Client", "Folder", "Preview", "Progress", "Study", "SyncReport"]
