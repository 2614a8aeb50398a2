"""Consumer: the perceptual hash of every frame, which proposes and never decides."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.errors import LimitExceeded, MalformedDICOM, NotAcceptable
from nearframe.ids import Digest
from nearframe.origin.background import FrameReader
from nearframe.perceptual.phash import PerceptualHash, hash_encoded_frame
from nearframe.storage.ports import Catalogue, ContentStore, InstanceRecord, PerceptualRow

#: Of a frame that nothing here can look at: it is listed for its digests, and never found by looks.
_BLIND = PerceptualHash(b"", 0)

_MODALITY = "00080060"


class PerceptualHashes:
    """Hashes what frames look like. Frames that cannot be decoded are listed without a hash."""

    name = "perceptual"

    def __init__(self, catalogue: Catalogue, contents: ContentStore) -> None:
        self._catalogue = catalogue
        self._contents = contents

    def make(self, record: InstanceRecord, read_frame: FrameReader) -> list[PerceptualRow] | None:
        # A corrected version looks as the one before it, whose hashes it was given.
        if not len(record.frames) or self._catalogue.is_hashed(
            record.study.tenant, record.identity.sop_instance_uid, record.version
        ):
            return None
        metadata = self._metadata(record)
        decodable = record.pixel is not None and transfer_syntax(record.transfer_syntax_uid).is_decodable
        rows = []
        for index, (enc, length) in enumerate(record.frames):
            found = self._hash(record, metadata, index, enc, read_frame) if decodable else _BLIND
            rows.append(
                PerceptualRow(
                    study=record.study,
                    identity=record.identity,
                    version=record.version,
                    frame_index=index,
                    enc=enc,
                    pix=record.frames.pix_of(index),
                    hash=found.bits,
                    quality=found.quality,
                    modality=_modality(metadata),
                    length=length,
                )
            )
        return rows

    def write(self, made: Sequence[list[PerceptualRow]]) -> None:
        self._catalogue.add_hashes([row for rows in made for row in rows])

    def _metadata(self, record: InstanceRecord) -> DICOMJSON:
        identity = record.identity
        rows = self._catalogue.metadata(
            record.study, identity.series_instance_uid, identity.sop_instance_uid, version=record.version
        )
        metadata: DICOMJSON = json.loads(rows[0][1]) if rows else {}
        return metadata

    def _hash(
        self, record: InstanceRecord, metadata: DICOMJSON, index: int, enc: Digest, read_frame: FrameReader
    ) -> PerceptualHash:
        assert record.pixel is not None  # noqa: S101 - make() looked
        encoded = read_frame(record.study, enc)
        try:
            parameters = RenderParameters.from_metadata(metadata, index, lambda uri: self._table(record, uri))
            return hash_encoded_frame(encoded, record.transfer_syntax_uid, record.pixel, parameters)
        except (MalformedDICOM, LimitExceeded, NotAcceptable):
            return _BLIND

    def _table(self, record: InstanceRecord, uri: str) -> bytes:
        """Return a table that was cut out of the header; one that is neither cut nor inline is left out."""
        tag = uri.rpartition("/")[2]
        for entry in record.bulk:
            if f"{entry.tag:08X}" == tag and not transfer_syntax(record.transfer_syntax_uid).big_endian:
                return self._contents.read(record.study, entry.digest)
        return b""


def _modality(metadata: DICOMJSON) -> str:
    values = metadata.get(_MODALITY, {}).get("Value") or [""]
    return str(values[0])
