"""What was seen of an archive's studies, on disk, so that a restart asks for nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from nearframe.ids import Digest
from nearframe.metrics import Metrics
from nearframe.storage.ownfile import open_own, rows_of
from nearframe.storage.ports import StudyRef

SCHEMA: Final = 1
_FILE_NAME: Final = "pacs.sqlite"

_metadata = sa.MetaData()
_study = sa.Table(
    "study",
    _metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("compared_at_s", sa.Float, nullable=False),
)
_instance = sa.Table(
    "instance",
    _metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A study that is here as the archive showed it at a moment, in seconds since 1970."""

    study: StudyRef
    at_s: float


class Ledger:
    """Fingerprints of the instances that are here, and when their studies were last compared. Blocks.

    Attributes
    ----------
    compared
        The studies that were here whole when the file was opened.
    """

    def __init__(self, home: Path, metrics: Metrics) -> None:
        """Open the file, or begin a new one; see `ownfile.open_own` for what that raises."""
        file = open_own(home / _FILE_NAME, SCHEMA, _metadata, _compared, metrics)
        self._database, self.compared = file.database, file.kept

    def close(self) -> None:
        self._database.close()

    def fingerprints(self, study: StudyRef) -> dict[str, Digest]:
        """Return the fingerprints of a study's instances, by SOP Instance UID."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(_instance.c.uid, _instance.c.fingerprint).where(*_of(_instance.c.study, study))
            ).all()
        return {row.uid: Digest(row.fingerprint) for row in rows}

    def add(self, study: StudyRef, seen: Mapping[str, Digest]) -> None:
        """Note instances that are here."""
        self._write(study, seen, (), None)

    def settle(self, study: StudyRef, seen: Mapping[str, Digest], gone: Iterable[str], at_s: float) -> None:
        """Note a study that is here whole, as it was seen."""
        self._write(study, seen, gone, at_s)

    def forget(self, study: StudyRef) -> None:
        """Forget a study."""
        with self._database.write() as connection:
            connection.execute(sa.delete(_instance).where(*_of(_instance.c.study, study)))
            connection.execute(sa.delete(_study).where(*_of(_study.c.uid, study)))

    def _write(self, study: StudyRef, seen: Mapping[str, Digest], gone: Iterable[str], at_s: float | None) -> None:
        key = {"tenant": study.tenant, "study": study.study_instance_uid}
        rows = [key | {"uid": uid, "fingerprint": fingerprint} for uid, fingerprint in seen.items()]
        with self._database.write() as connection:
            for uid in (*seen, *gone):
                connection.execute(sa.delete(_instance).where(*_of(_instance.c.study, study), _instance.c.uid == uid))
            if rows:
                connection.execute(sa.insert(_instance), rows)
            if at_s is not None:
                connection.execute(sa.delete(_study).where(*_of(_study.c.uid, study)))
                connection.execute(
                    sa.insert(_study).values(tenant=study.tenant, uid=study.study_instance_uid, compared_at_s=at_s)
                )


def _compared(connection: sa.Connection) -> list[Compared]:
    return [Compared(StudyRef(row["tenant"], row["uid"]), row["compared_at_s"]) for row in rows_of(connection, _study)]


def _of(column: sa.Column[str], study: StudyRef) -> tuple[sa.ColumnElement[bool], ...]:
    return column.table.c.tenant == study.tenant, column == study.study_instance_uid
