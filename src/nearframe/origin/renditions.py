"""Consumer: a progressive lossless rendition (HTJ2K, RPCL) beside the frames that gain by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from nearframe.dicom.targets import wants_rendition
from nearframe.dicom.transcode import best_rendition
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.errors import LimitExceeded, MalformedDICOM, NotFound
from nearframe.ids import Digest, sha256
from nearframe.origin.background import FrameReader
from nearframe.storage.ports import Catalogue, ContentKind, ContentStore, InstanceRecord, Mark, Rendition, StudyRef


@dataclass(frozen=True, slots=True)
class MadeRenditions:
    """The renditions of the frames of one version; their contents are appended since `mark`."""

    study: StudyRef
    sop_instance_uid: str
    version: int
    mark: Mark
    renditions: tuple[Rendition, ...]


class Renditions:
    """Encodes frames once more; every rendition was decoded again and its pixels compared.

    Parameters
    ----------
    on_vain
        Called with renditions of a version that was purged while they were made.
    """

    name = "renditions"

    def __init__(
        self,
        catalogue: Catalogue,
        contents: ContentStore,
        on_vain: Callable[[Mapping[StudyRef, Collection[Digest]]], None] = lambda _: None,
    ) -> None:
        self._catalogue = catalogue
        self._contents = contents
        self._on_vain = on_vain

    def make(self, record: InstanceRecord, read_frame: FrameReader) -> MadeRenditions | None:
        if record.pixel is None or not wants_rendition(record.transfer_syntax_uid, record.pixel):
            return None
        mark = self._contents.mark()
        made = [self._rendition(record, enc, read_frame) for enc in dict.fromkeys(enc for enc, _ in record.frames)]
        renditions = tuple(one for one in made if one is not None)
        if not renditions:
            return None
        return MadeRenditions(record.study, record.identity.sop_instance_uid, record.version, mark, renditions)

    def write(self, made: Sequence[MadeRenditions]) -> None:
        self._contents.sync(min(one.mark for one in made))
        for tenant in dict.fromkeys(one.study.tenant for one in made):
            mine = [rendition for one in made if one.study.tenant == tenant for rendition in one.renditions]
            self._catalogue.add_renditions(tenant, mine)
        # A purge before this did not see them, one from here on does.
        for one in made:
            if not self._is_there(one):
                self._on_vain({one.study: {rendition.digest for rendition in one.renditions}})

    def _is_there(self, made: MadeRenditions) -> bool:
        try:
            self._catalogue.find_instance(made.study.tenant, made.sop_instance_uid, version=made.version)
        except NotFound:
            return False
        return True

    def _rendition(self, record: InstanceRecord, enc: Digest, read_frame: FrameReader) -> Rendition | None:
        study = record.study
        known = self._catalogue.rendition(study.tenant, enc, HTJ2KLosslessRPCL)
        # The tenant may have it already; then this study needs a reference to it, no bytes.
        if known is not None and not self._contents.adopt(study, [known.digest]):
            return known
        return self._encode(record, enc, read_frame)

    def _encode(self, record: InstanceRecord, enc: Digest, read_frame: FrameReader) -> Rendition | None:
        assert record.pixel is not None  # noqa: S101 - make() looked
        encoded = read_frame(record.study, enc)
        with suppress(MalformedDICOM, LimitExceeded):
            frame = best_rendition(encoded, record.transfer_syntax_uid, record.pixel)
            if frame is not None:
                return self._store(record, enc, frame.encoded, frame.resolution_offsets)
        return None

    def _store(
        self, record: InstanceRecord, enc: Digest, encoded: bytes, resolution_offsets: tuple[int, ...]
    ) -> Rendition:
        digest = sha256(encoded)
        self._contents.append(record.study, ContentKind.DERIVED, digest, len(encoded), (encoded,))
        return Rendition(enc, HTJ2KLosslessRPCL, digest, len(encoded), resolution_offsets)
