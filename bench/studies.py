"""The folder of real studies to measure with, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "data"


def studies_folder() -> Path | None:
    """Return ``NEARFRAME_TEST_DATA``, or ``../shared/data`` beside the repository, as the tests do; None without."""
    folder = Path(os.environ.get("NEARFRAME_TEST_DATA") or _BESIDE_THE_REPOSITORY)
    return folder if folder.is_dir() else None
