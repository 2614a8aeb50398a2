"""Where nodes ask each other about a study."""

from __future__ import annotations

from urllib.parse import quote

from nearframe.storage.ports import StudyRef


def path_of(study: StudyRef, rest: str) -> str:
    """Return the path of something about a study; `rest` is quoted as it goes over the line."""
    return f"/api/studies/{quote(study.study_instance_uid, safe='')}/{rest}"
