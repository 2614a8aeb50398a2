"""A study as files in a folder, numbered, with an index: for programs that read files.

Names are numbers, since a UID is what somebody else has written. The numbers follow
series and instance numbers when files are first written, and stay: what is added later is
numbered on. A file is written anew only if a byte of it changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from nearframe.client.folder import Folder
from nearframe.client.study import Study
from nearframe.errors import ConfigurationError
from nearframe.wire.manifest import InstanceEntry

INDEX: Final = "index.json"
_OURS = re.compile(r"(series-\d{3,9}/)?\d{5,9}\.dcm")
_LAST = 2**31  # beyond what Series and Instance Number (IS) can hold


class Layout(Enum):
    """Where files go."""

    FLAT = "flat"
    TREE = "tree"  # a folder for each series


@dataclass(frozen=True, slots=True)
class Exported:
    """What was done."""

    files: int
    written: int
    removed: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What the index says of a file."""

    file: str
    series: str
    digest: str
    size_bytes: int


def export(study: Study, into: Path, layout: Layout = Layout.FLAT) -> Exported:
    """Write the Part 10 files of a study, byte for byte as they were stored, below `into`.

    A file appears whole or not at all, the index after the files it names. Files of
    instances that the study does not have any longer are removed, if the index says that
    they are ours.

    Raises
    ------
    ConfigurationError
        If the folder holds another study.
    NotFound, IntegrityError
        If something of the study is not held or damaged: sync it again.
    """
    known = _read_index(into, study.study_instance_uid)
    names = _Names(known, layout)
    listed: list[dict[str, Any]] = []
    written = 0
    for instance in sorted(study.instances, key=_reading_order):
        uid, series = instance.identity.sop_instance_uid, instance.identity.series_instance_uid
        before = known.get(uid)
        file = names.of(uid, series)
        digest, size_bytes = study.file_digest(instance).hex(), study.header(instance).file_bytes
        place = into / file
        if before is None or before.digest != digest or before.file != file or not _has_size(place, size_bytes):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with study.folder.written(place) as out:
                for chunk in study.file_chunks(instance):
                    out.write(chunk)
            written += 1
        listed.append({"file": file, "series": series, "instance": uid, "digest": digest, "bytes": size_bytes})
    _write_index(study, into, listed)
    gone = {one.file for one in known.values()} - {one["file"] for one in listed}
    for file in gone:
        (into / file).unlink(missing_ok=True)
    return Exported(len(listed), written, len(gone))


def exported_study(into: Path) -> str:
    """Return the Study Instance UID of the study whose files are in a folder, empty if there is none."""
    document = _index(into)
    uid = document.get("study")
    return uid if isinstance(uid, str) else ""


class _Names:
    """Gives file names, the same as before to what had one."""

    def __init__(self, known: Mapping[str, _Known], layout: Layout) -> None:
        self._layout = layout
        kept = {uid: one for uid, one in known.items() if ("/" in one.file) == (layout is Layout.TREE)}
        self._files = {uid: one.file for uid, one in kept.items()}
        self._folders = {one.series: one.file.partition("/")[0] for one in kept.values()}
        self._last_file = max((int(file.rpartition("/")[2][:-4]) for file in self._files.values()), default=0)
        self._last_folder = max((int(re.sub(r"\D", "", name) or 0) for name in self._folders.values()), default=0)

    def of(self, sop_instance_uid: str, series_instance_uid: str) -> str:
        if sop_instance_uid not in self._files:
            self._last_file += 1
            folder = f"{self._folder(series_instance_uid)}/" if self._layout is Layout.TREE else ""
            self._files[sop_instance_uid] = f"{folder}{self._last_file:05}.dcm"
        return self._files[sop_instance_uid]

    def _folder(self, series_instance_uid: str) -> str:
        if series_instance_uid not in self._folders:
            self._last_folder += 1
            self._folders[series_instance_uid] = f"series-{self._last_folder:03}"
        return self._folders[series_instance_uid]


def _reading_order(instance: InstanceEntry) -> tuple[int, str, int, str]:
    series, sop_instance_uid = instance.place
    return _number(instance, "00200011"), series, _number(instance, "00200013"), sop_instance_uid


def _number(instance: InstanceEntry, tag: str) -> int:
    values = instance.metadata.get(tag, {}).get("Value") or [None]
    return values[0] if type(values[0]) is int else _LAST


def _has_size(place: Path, size_bytes: int) -> bool:
    try:
        return place.stat().st_size == size_bytes
    except (FileNotFoundError, NotADirectoryError):
        return False


# -- the index ---------------------------------------------------------------------------------


def _write_index(study: Study, into: Path, listed: list[dict[str, Any]]) -> None:
    document = {"study": study.study_instance_uid, "root": study.root.hex(), "files": listed}
    text = json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
    with study.folder.written(into / INDEX) as out:
        out.write(text)


def _read_index(into: Path, study_instance_uid: str) -> dict[str, _Known]:
    """Return the files by SOP Instance UID; an index that cannot be read names none."""
    document = _index(into)
    if document and document.get("study") != study_instance_uid:
        raise ConfigurationError(f"{into} holds another study; give each study a folder of its own")
    return dict(_known(document.get("files")))


def _known(files: object) -> Iterator[tuple[str, _Known]]:
    for one in files if isinstance(files, list) else ():
        try:
            known = _Known(str(one["file"]), str(one["series"]), str(one["digest"]), int(one["bytes"]))
            # Whoever changed the index must not make us write or remove elsewhere.
            if _OURS.fullmatch(known.file):
                yield str(one["instance"]), known
        except (KeyError, TypeError, ValueError):
            continue


def _index(into: Path) -> dict[str, Any]:
    try:
        document = json.loads((into / INDEX).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def folder_in(into: Path) -> Folder:
    """Return where a folder of files keeps what they are made of."""
    return Folder(into / ".nearframe")
