"""Legal holds: the objects that hold a study's contents stay, whoever asks for their removal.

The bucket enforces it (S3 object lock), against us too. A study under a hold keeps what it has
where it is, so compaction leaves its objects alone; what is stored for it later goes under the hold before it
is acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from nearframe.errors import NotFound, Refused
from nearframe.storage.catalogue.database import Database
from nearframe.storage.objects.index import ObjectIndex, StoredObject
from nearframe.storage.objects.reading import object_name
from nearframe.storage.objects.recording import NewObject, Reference
from nearframe.storage.objects.schema import hold, stored_object
from nearframe.storage.packs.keys import KeyRing
from nearframe.storage.ports import StudyRef
from nearframe.storage.s3 import Bucket


class Holds:
    """Puts studies under legal holds and takes them out again. Every call is safe to repeat."""

    def __init__(self, bucket: Bucket, database: Database, index: ObjectIndex, keys: KeyRing) -> None:
        self._bucket = bucket
        self._database = database
        self._index = index
        self._keys = keys

    def hold(self, study: StudyRef) -> int:
        """Put every object under a hold that has contents of a study; return how many there are.

        Raises
        ------
        Refused
            If the bucket has no object lock; nothing has changed.
        NotFound
            If nothing is stored of the study.
        """
        key_id = self._key_id(study)
        if not self._bucket.can_hold():
            raise Refused(
                "the bucket has no object lock, which legal holds need: it is given to a bucket when it is made"
            )
        # First the row: what is stored from here on is held by who stores it.
        with self._database.write() as connection:
            connection.execute(sa.delete(hold).where(hold.c.study_key_id == key_id))
            connection.execute(sa.insert(hold).values(study_key_id=key_id))
        objects = self._index.objects_of(key_id)
        self._set(objects - self._index.held(), held=True)
        return len(objects)

    def release(self, study: StudyRef) -> int:
        """End a study's hold; return how many objects go free because no other study under a hold needs them."""
        key_id = self._key_id(study)
        with self._database.write() as connection:
            connection.execute(sa.delete(hold).where(hold.c.study_key_id == key_id))
        free = self._index.held()
        for other in self._index.held_studies():
            free -= self._index.objects_of(other)
        self._set(free, held=False)
        return len(free)

    def otherwise(self, standing: Collection[StudyRef]) -> list[StudyRef]:
        """Return the studies under a hold that are not in `standing`, and those of it that lack one."""
        held = self._index.held_studies()
        wanted = {study: keys.key_id for study in standing if (keys := self._keys.find(study)) is not None}
        surplus = map(self._keys.study_of, held - set(wanted.values()))
        lacking = (study for study, key_id in wanted.items() if key_id not in held)
        return [*filter(None, surplus), *lacking]

    def hold_new(self, objects: Iterable[NewObject], references: Iterable[Reference]) -> None:
        """Put what was just stored under the holds of the studies that it was stored for."""
        studies = {new.keys.key_id for one in objects for new in one.contents}
        studies |= {reference.wrap.study_key_id for reference in references}
        self._hold_all(studies & self._index.held_studies())

    def complete(self) -> None:
        """Put what was moved, or left by a crash between index and bucket, under the holds of its studies."""
        self._hold_all(self._index.held_studies())

    def _hold_all(self, key_ids: set[bytes]) -> None:
        theirs = {one for key_id in key_ids for one in self._index.objects_of(key_id)}
        if theirs:
            self._set(theirs - self._index.held(), held=True)

    def _key_id(self, study: StudyRef) -> bytes:
        keys = self._keys.find(study)
        if keys is None:
            raise NotFound("study")
        return keys.key_id

    def _set(self, objects: Iterable[StoredObject], *, held: bool) -> None:
        for one in objects:
            self._bucket.hold(object_name(one.id), one.version, held=held)
            # Marked once the bucket has done it: what failed in between is done again. Compaction may have moved
            # what stood in it meanwhile; the bucket refuses to remove it, and `complete` holds where it went.
            with self._database.write() as connection:
                connection.execute(sa.update(stored_object).where(stored_object.c.id == one.id).values(held=held))
