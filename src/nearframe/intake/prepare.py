"""From a spooled part to appended contents: take apart, digest, append. Runs on worker threads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from nearframe.dicom.model import PieceKind, Source, SplitInstance
from nearframe.dicom.split import read_piece
from nearframe.ids import sha256
from nearframe.intake.survey import Survey, survey
from nearframe.storage.ports import BulkEntry, ContentKind, ContentStore, NewVersion
from nearframe.wire.frametable import FrameTable
from nearframe.wire.header import file_digest


@dataclass(frozen=True, slots=True)
class Arrival:
    """How an object came.

    Attributes
    ----------
    source
        Who sent it and how, for people: ``"stow local_admin"``.
    """

    tenant: str
    source: str
    received_at: datetime


def append_contents(contents: ContentStore, source: Source, instance: SplitInstance, arrival: Arrival) -> NewVersion:
    """Append header and pieces of an object and return the version to record. Nothing is durable yet.

    Raises
    ------
    MalformedDICOM
        If the file ends before a piece does.
    NoSpace
        If the store is full.
    """
    found = survey(source, instance)
    header = instance.header.encode()
    version = _version(instance, found, source.size, header, arrival)
    study = version.study
    contents.append(study, ContentKind.HEADER, version.hdr, len(header), (header,))
    for index, piece in enumerate(instance.pieces):
        chunks: Iterable[bytes]
        if index in found.kept:
            chunks = (found.kept[index],)
        else:
            chunks = read_piece(instance, source, piece)
        contents.append(study, ContentKind(piece.kind), found.pieces[index], piece.length, chunks)
    return version


def _version(instance: SplitInstance, found: Survey, file_bytes: int, header: bytes, arrival: Arrival) -> NewVersion:
    frames = FrameTable.of(
        [(found.pieces[index], found.pix.get(index), instance.pieces[index].length) for index in instance.frame_pieces]
    )
    bulk, places = _places(instance, found)
    hdr = sha256(header)
    return NewVersion(
        tenant=arrival.tenant,
        identity=instance.identity,
        transfer_syntax_uid=instance.transfer_syntax_uid,
        hdr=hdr,
        header_bytes=len(header),
        file=file_digest(hdr, found.pieces),
        file_bytes=file_bytes,
        frames=frames,
        bulk=bulk,
        pieces=places,
        pixel=instance.pixel,
        metadata=instance.metadata,
        attributes=instance.attributes,
        source=arrival.source,
        received_at=arrival.received_at,
        notes=instance.notes,
    )


def _places(instance: SplitInstance, found: Survey) -> tuple[tuple[BulkEntry, ...], tuple[int, ...]]:
    """Return the pieces that are not frames, and for every piece where it is found."""
    frame_index = {piece: frame for frame, piece in enumerate(instance.frame_pieces)}
    bulk: list[BulkEntry] = []
    places: list[int] = []
    for index, piece in enumerate(instance.pieces):
        if piece.kind is PieceKind.FRAME:
            places.append(frame_index[index])
        else:
            places.append(-1 - len(bulk))
            bulk.append(BulkEntry(ContentKind(piece.kind), piece.tag, found.pieces[index], piece.length))
    return tuple(bulk), tuple(places)
