"""One instance after a correction: its header edited, its pieces the ones that are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from nearframe.dicom.attributeedit import AttributeEdit
from nearframe.dicom.header_source import metadata_of
from nearframe.dicom.headercorrection import corrected
from nearframe.dicom.limits import Limits
from nearframe.errors import Conflict, IntegrityError
from nearframe.ids import Digest, sha256
from nearframe.query.stored_file import piece_digest
from nearframe.storage.ports import ContentKind, ContentStore, InstanceRecord, NewVersion, StudyRef
from nearframe.wire.header import HeaderBlob, file_digest


def revised(
    contents: ContentStore,
    record: InstanceRecord,
    edit: AttributeEdit,
    made_at: datetime,
    limits: Limits,
    appended: defaultdict[StudyRef, set[Digest]],
) -> NewVersion | None:
    """Return the version that an edit makes of a stored one, None if it says so already.

    What it refers to is appended, and not durable yet. The disk's reserve may be used: who cannot delete or
    correct on a full disk cannot make room on it either.

    Parameters
    ----------
    appended
        Told what may be in vain if the version does not come about.

    Raises
    ------
    Conflict
        If the edit cannot be made exactly, or would change what the pixels are read by.
    """
    old = HeaderBlob.decode(contents.read(record.study, record.hdr))
    new = corrected(old, record.transfer_syntax_uid, edit, limits)
    if new == old:
        return None
    described = metadata_of(new, limits)
    identity = described.identity
    if described.pixel != record.pixel or identity.sop_instance_uid != record.identity.sop_instance_uid:
        raise Conflict("the correction would change what an object is, or how its pixels are read")
    encoded = new.encode()
    hdr = sha256(encoded)
    study = StudyRef(record.study.tenant, identity.study_instance_uid)
    pieces = list(_pieces(record))
    appended[study].add(hdr)
    contents.append(study, ContentKind.HEADER, hdr, len(encoded), (encoded,), into_reserve=True)
    if study != record.study:
        appended[study].update(pieces)
    if study != record.study and contents.adopt(study, pieces, into_reserve=True):
        raise IntegrityError("an object that is to be moved lacks some of its contents; nearframe scrub says more")
    return NewVersion(
        tenant=study.tenant,
        identity=identity,
        transfer_syntax_uid=record.transfer_syntax_uid,
        hdr=hdr,
        header_bytes=len(encoded),
        file=file_digest(hdr, pieces),
        file_bytes=new.file_bytes,
        frames=record.frames,
        bulk=record.bulk,
        pieces=record.pieces,
        pixel=record.pixel,
        metadata=described.metadata,
        attributes=described.attributes,
        source="correction",
        received_at=made_at,
        notes=record.notes,
    )


def _pieces(record: InstanceRecord) -> Iterator[Digest]:
    return (piece_digest(record, index) for index in range(len(record.pieces)))
