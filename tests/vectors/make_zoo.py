"""Write zoo.json: what becomes of every file of the zoo of small and odd objects.

Run from the project's folder, and read the difference before committing it::

    PYTHONPATH=src python tests/vectors/make_zoo.py ../shared/data/zoo

Per file, by its relative path and without any identifier: stored or refused; if refused,
for which failure reason (PS3.18 Table I.2-2) and with which words; if stored, in which
transfer syntax, with how many frames, and which oddities were noted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nearframe.dicom.source import FileSource
from nearframe.dicom.split import split
from nearframe.errors import RequestError

EXPECTATIONS = Path(__file__).with_name("zoo.json")


def objects_of(folder: Path) -> list[Path]:
    """Return the files that may be objects: all but licences and notes."""
    files = (path for path in folder.rglob("*") if path.is_file() and "LICENSES" not in path.parts)
    return sorted(path for path in files if path.suffix not in (".md", ".txt"))


def outcome(path: Path) -> dict[str, Any]:
    """Return what becomes of one file."""
    with FileSource(path) as source:
        try:
            instance = split(source)
        except RequestError as error:
            words = str(error).partition(" (at byte")[0]
            return {"outcome": "refused", "reason": f"{error.failure_reason:04X}", "because": words}
    return {
        "outcome": "stored",
        "transfer_syntax": instance.transfer_syntax_uid,
        "frames": len(instance.frame_pieces),
        "notes": list(instance.notes),
    }


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what becomes of every file, by relative path."""
    return {path.relative_to(folder).as_posix(): outcome(path) for path in objects_of(folder)}


def main() -> None:
    rows = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in outcomes(Path(sys.argv[1])).items()]
    EXPECTATIONS.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
