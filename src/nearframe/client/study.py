"""A study as a client holds it: its instances, its frames early and whole, its files byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from nearframe.client.folder import Folder, StudyFolder
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.j2kheader import complete_resolutions
from nearframe.dicom.native import Samples
from nearframe.dicom.rebuild import decoded
from nearframe.errors import IntegrityError, NotAcceptable, NotFound
from nearframe.ids import Digest
from nearframe.query.manifests import pixel_description
from nearframe.units import MIB
from nearframe.wire.header import HeaderBlob, file_digest
from nearframe.wire.manifest import InstanceEntry, Manifest
from nearframe.wire.studycontents import contents_of


@dataclass(frozen=True)
class Preview:
    """A frame at the best resolution that has come.

    Attributes
    ----------
    samples
        Shape ``(rows, columns)`` or ``(rows, columns, samples)``.
    halved
        How often rows and columns were halved; 0 is the picture itself.
    is_proved
        False while only a beginning has come: it may be looked at, and be used for nothing else.
    """

    samples: Samples
    halved: int
    is_proved: bool


@dataclass(frozen=True)
class Study:
    """A study in a folder, in the state of one manifest."""

    folder: Folder
    place: StudyFolder
    manifest: Manifest

    @property
    def study_instance_uid(self) -> str:
        return self.manifest.study_instance_uid

    @property
    def root(self) -> Digest:
        """The Merkle root of the state: equal roots, equal studies."""
        return self.manifest.root

    @property
    def instances(self) -> tuple[InstanceEntry, ...]:
        """What there is, ordered by Series and SOP Instance UID; metadata is DICOM JSON."""
        return self.manifest.entries

    @property
    def is_whole(self) -> bool:
        """True if everything is held. A cheap look; reading proves each byte."""
        holds = self.folder.holds
        headers = all(holds(entry.hdr) for entry in self.instances)
        return headers and all(holds(content.digest, content.length) for content in contents_of(self.manifest))

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all its files together; headers must be held."""
        return sum(self.header(instance).file_bytes for instance in self.instances)

    # -- files -------------------------------------------------------------------------------

    def header(self, instance: InstanceEntry) -> HeaderBlob:
        """Return the header blob of an instance; raises as `Folder.read` does."""
        return HeaderBlob.decode(self.folder.read(instance.hdr))

    def file_digest(self, instance: InstanceEntry) -> Digest:
        """Return what changes whenever a byte of the instance's file does."""
        return file_digest(instance.hdr, _pieces(instance))

    def file(self, instance: InstanceEntry) -> bytes:
        """Return the Part 10 file of an instance, byte for byte as it was stored; see `file_chunks`."""
        return b"".join(self.file_chunks(instance))

    def file_chunks(self, instance: InstanceEntry) -> Iterator[bytes]:
        """Yield the Part 10 file of an instance in chunks of bounded size.

        Raises
        ------
        NotFound
            If a part of it is not held.
        IntegrityError
            If a part is damaged, which shows before the first byte of that part is yielded.
        """
        pieces = _pieces(instance)
        proved: set[Digest] = set()
        for part in self.header(instance).plan():
            if isinstance(part, bytes):
                yield from (part[at : at + MIB] for at in range(0, len(part), MIB))
                continue
            if part.piece_index >= len(pieces):
                raise IntegrityError("a header refers to a piece that its instance does not have")
            digest = pieces[part.piece_index]
            if digest not in proved:
                self.folder.prove(digest)
                proved.add(digest)
            yield from self.folder.read_slice(digest, part.piece_offset, part.length)

    # -- frames ------------------------------------------------------------------------------

    def frame(self, instance: InstanceEntry, frame_number: int) -> bytes:
        """Return a frame in the encoding in which it is stored; `frame_number` counts from one.

        Raises
        ------
        NotFound
            If there is no such frame, or it has not come.
        IntegrityError
            If our copy is damaged.
        """
        return self.folder.read(_enc(instance, frame_number))

    def preview(self, instance: InstanceEntry, frame_number: int) -> Preview:
        """Return the samples of a frame, as well as they are known by now; `frame_number` counts from one.

        Raises
        ------
        NotFound
            If there is no such frame, or nothing of it that could be shown has come.
        NotAcceptable
            If nothing here decodes it.
        MalformedDICOM, IntegrityError
        """
        enc = _enc(instance, frame_number)
        pixel = pixel_description(instance)
        if pixel is None:
            raise NotAcceptable("the instance has no picture")
        length = instance.frames.lengths[frame_number - 1]
        if self.folder.holds(enc, length):
            return Preview(decode_frame(self.folder.read(enc), instance.transfer_syntax_uid, pixel), 0, True)
        for content, form, _ in self.place.parts():
            if content == enc and form != enc:
                part = self.place.part_path(content, form).read_bytes()
                prefix, halved = complete_resolutions(part)
                return Preview(decoded(prefix, pixel, skipped_resolutions=halved), halved, False)
        raise NotFound("part of this frame that can be shown; it has not come yet")


def _enc(instance: InstanceEntry, frame_number: int) -> Digest:
    if not 1 <= frame_number <= len(instance.frames):
        raise NotFound("frame")
    return instance.frames.enc_of(frame_number - 1)


def _pieces(instance: InstanceEntry) -> list[Digest]:
    """Return the pieces of an instance's file by index, as its header refers to them."""
    try:
        return [instance.frames.enc_of(at) if at >= 0 else instance.bulk[-1 - at].digest for at in instance.pieces]
    except IndexError as error:
        raise IntegrityError("a manifest names a piece that it does not have") from error
