"""An instance of the outbox as it is offered: its digests, and where its contents are. Sync."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from nearframe.dicom.model import PixelDescription
from nearframe.edge.outbox import Item
from nearframe.edge.studyindex import Content
from nearframe.errors import IntegrityError, NotFound
from nearframe.ids import Digest
from nearframe.query.stored_file import piece_digest
from nearframe.storage.ports import AGAIN, Catalogue, ContentKind, ContentStore, InstanceRecord, StudyRef
from nearframe.wire.header import HeaderBlob
from nearframe.wire.offer import NOT_IN_FILE, OfferedInstance

__all__ = ["Content", "Packed", "Packer", "Picture"]

#: Transfer syntax of a frame, and how its pixels are described.
Picture: TypeAlias = tuple[str, PixelDescription]


@dataclass(frozen=True, slots=True)
class Packed:
    """An instance to offer, and what the upstream may lack of it."""

    item: Item
    offered: OfferedInstance
    contents: Mapping[Digest, Content]
    pictures: Mapping[Digest, Picture]


class Packer:
    """Reads what is to be forwarded from catalogue and store. Any thread may call."""

    def __init__(self, catalogue: Catalogue, store: ContentStore) -> None:
        self._catalogue = catalogue
        self._store = store

    def pack(self, study: StudyRef, item: Item) -> Packed:
        """Return an instance as it is offered.

        Raises
        ------
        NotFound
            If it is in view no more.
        IntegrityError
            If its header is damaged.
        """
        record = self._find(item)
        try:
            header = self._store.read(study, record.hdr)
        except NotFound as error:
            raise IntegrityError("the header of an instance to be forwarded is not there") from error
        in_file = {hole.piece_index for hole in HeaderBlob.decode(header).holes}
        pieces = [piece_digest(record, index) for index in range(len(record.pieces))]
        lengths = {enc: Content(enc, ContentKind.FRAME, length) for enc, length in record.frames}
        lengths |= {bulk.digest: Content(bulk.digest, bulk.kind, bulk.length) for bulk in record.bulk}
        contents = {record.hdr: Content(record.hdr, ContentKind.HEADER, len(header))}
        contents |= {pieces[index]: lengths[pieces[index]] for index in sorted(in_file)}
        # The digest of a piece that is made from others counts for nothing: who has those makes it.
        offered = tuple(digest if index in in_file else NOT_IN_FILE for index, digest in enumerate(pieces))
        pictures: dict[Digest, Picture] = {}
        if record.pixel is not None:
            pictures = dict.fromkeys((enc for enc, _ in record.frames), (record.transfer_syntax_uid, record.pixel))
        instance = OfferedInstance(item.sop_instance_uid, record.hdr, record.file, offered, record.source == AGAIN)
        return Packed(item, instance, contents, pictures)

    def is_sound(self, study: StudyRef, content: Content) -> bool:
        """Return whether a content can be read; one that is damaged is marked so by trying."""
        try:
            return sum(len(chunk) for chunk in self._store.stream(study, content.digest)) == content.length
        except (IntegrityError, NotFound):
            return False

    def stream(self, study: StudyRef, content: Content) -> Iterator[bytes]:
        """Yield the bytes of a content."""
        return self._store.stream(study, content.digest)

    def read(self, study: StudyRef, digest: Digest) -> bytes:
        """Return a content."""
        return self._store.read(study, digest)

    def _find(self, item: Item) -> InstanceRecord:
        for record in self._catalogue.list_versions(item.tenant, item.sop_instance_uid):
            if record.file == item.file:
                return record
        raise NotFound("version of an instance to be forwarded")
