"""Whether what was found is what is held: each study of the sources, compared with the target's own listing.

What was found is remembered in a file, so that archives of any size can be compared.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from types import TracebackType

from nearframe.importer.report import Reconciliation
from nearframe.importer.webarchive import WebArchive


class Ledger:
    """What was found. Any thread may add."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(suffix=".ledger")  # noqa: SIM115 - closed by `__exit__`
        self._rows = sqlite3.connect(self._file.name, check_same_thread=False)
        self._rows.execute("PRAGMA synchronous = OFF")  # nothing outlives the run
        self._rows.execute("CREATE TABLE found (study TEXT, instance TEXT, name TEXT, PRIMARY KEY (study, instance))")
        self._lock = threading.Lock()
        self.unidentified = 0

    def add(self, identity: tuple[str, str] | None, name: str) -> None:
        """Remember an instance by Study and SOP Instance UID; None if they could not be read."""
        with self._lock:
            if identity is None or not all(identity):
                self.unidentified += 1
            else:
                self._rows.execute("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", (*identity, name))

    def reconciled(self, target: WebArchive) -> Reconciliation:
        """Compare with what the target lists.

        Raises
        ------
        UpstreamError, AccessError, RequestError
            If it cannot be asked.
        """
        result = Reconciliation(unidentified=self.unidentified)
        for study in self._studies():
            rows = self._rows.execute("SELECT instance, name FROM found WHERE study = ?", (study,))
            held = {one.sop_instance_uid for one in target.instances(study)}
            result.compare(dict(rows), held)
        return result

    def _studies(self) -> Iterator[str]:
        for (study,) in self._rows.execute("SELECT DISTINCT study FROM found ORDER BY study").fetchall():
            yield study

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()
        self._file.close()
