"""Takes a study's stream apart and keeps what is proved: no socket here.

Whenever a stream ends, however it ends, the folder holds all that came: `request` names
it, and the next stream, from whatever node, brings the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nearframe.client.folder import Folder, StudyFolder
from nearframe.client.progress import Arrival, Progress
from nearframe.dicom.rebuild import is_rebuildable, rebuilt
from nearframe.errors import IntegrityError, MalformedRequest, NotFound, RequestError
from nearframe.ids import Digest, sha256
from nearframe.query.deltas import HeaderEdits, apply_delta
from nearframe.query.manifests import pixel_description
from nearframe.units import KIB, MIB
from nearframe.wire.delta import decode_delta
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import decode_manifest
from nearframe.wire.studycontents import StudyContent, contents_of, pack_bits
from nearframe.wire.syncrequest import SyncRequest, part_of
from nearframe.wire.syncstream import (
    Absent,
    DeltaDocument,
    End,
    Event,
    Form,
    Headers,
    ManifestDocument,
    Piece,
    Unchanged,
)

#: Of a content that comes, so much is held in memory; the rest is in its part.
_BUFFER_BYTES: Final = 8 * MIB


class AskAgain(Exception):
    """What was asked for is not what is lacking: the node has forgotten our state, or our copy was damaged."""


@dataclass(slots=True)
class _Growing:
    """The record of a content that is being read."""

    number: int
    form: Form
    offset: int
    data: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Receiver:
    """Receives one study.

    Attributes
    ----------
    manifest
        The state that is known, or None before the first answer.
    how
        How the last answer said it: ``unchanged``, ``delta``, ``manifest``; empty before.
    rebuilds
        False once a rendition gave another frame than it was made from: renditions are not asked for then.
    kept_bytes
        Of headers and contents, whole or in part, that were kept since the beginning.
    """

    def __init__(self, folder: Folder, study: StudyFolder, codec: HeaderEdits, progress: Progress) -> None:
        self._folder = folder
        self._study = study
        self._codec = codec
        self._progress = progress
        self.how = ""
        self.rebuilds = True
        self.kept_bytes = 0
        self._state(study.manifest())

    # -- what is held ------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """True if everything of the state that is known is held."""
        return self.manifest is not None and not self._lacking_headers and not self._lacking

    @property
    def lacking_bytes(self) -> int:
        return sum(self._contents[number].length for number in self._lacking)

    def request(self, levels: int | None) -> SyncRequest:
        """Return what to ask for now.

        Parameters
        ----------
        levels
            See `SyncRequest.levels`.
        """
        levels = levels if self.rebuilds else None
        if self.manifest is None:
            return SyncRequest(levels=levels)
        numbers = {self._contents[number].digest: number for number in self._lacking}
        parts = [
            part_of(numbers[content], form, length)
            for content, form, length in self._study.parts()
            if content in numbers
        ]
        return SyncRequest(
            root=self.manifest.root,
            levels=levels,
            lacking_headers=pack_bits(self._lacking_headers, len(self.manifest.entries)),
            lacking_contents=pack_bits(self._lacking, len(self._contents)),
            parts=tuple(parts),
        )

    def begin(self) -> None:
        """Begin a new stream."""
        self._forms: dict[int, Form] = {}
        self._growing: _Growing | None = None
        self.how = ""

    def nothing_new(self) -> None:
        """Take an answer without content: the state that was named is the current one, and all of it is held."""
        if not self.is_whole:
            raise MalformedRequest("a node says that nothing is lacking, and something is")
        self._knows("unchanged")

    def cut(self) -> None:
        """End a stream, wherever it stopped: what came of a content is kept."""
        self._keep_part()

    # -- what comes --------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Take what the stream says next.

        Raises
        ------
        IntegrityError
            If something does not match its digest or root: the node is not to be asked again.
        RequestError
            If it makes no sense.
        AskAgain
        """
        match event:
            case Unchanged(root):
                if self.manifest is None or self.manifest.root != root:
                    raise IntegrityError("a node says that a state is current which we did not name")
                self._knows("unchanged")
            case ManifestDocument(encoded):
                self._take_manifest(decode_manifest(encoded))
            case DeltaDocument(encoded):
                self._take_delta(encoded)
            case Headers(blobs):
                for index, blob in blobs:
                    self._take_header(index, blob)
            case Form():
                self._take_form(event)
            case Piece():
                self._take_piece(event)
            case Absent(number):
                self._content(number)
            case End(root):
                if self.manifest is None or self.manifest.root != root:
                    raise IntegrityError("a stream ends at another state than it began with")
            case _:
                pass

    def _take_manifest(self, manifest: Manifest) -> None:
        if manifest.study_instance_uid != self._study.study_instance_uid:
            raise IntegrityError("a node sent the manifest of another study")
        self._study.keep(manifest)
        self._state(manifest)
        self._knows("manifest")

    def _take_delta(self, encoded: bytes) -> None:
        if self.manifest is None:
            raise MalformedRequest("a delta came before any state")
        manifest = apply_delta(self.manifest, decode_delta(encoded), self._read_header, self._codec, self._folder.put)
        self._study.keep(manifest)
        self._state(manifest)
        self._knows("delta")

    def _knows(self, how: str) -> None:
        self.how = how
        if self.manifest is not None:
            self._progress.known(self.manifest, self.lacking_bytes)

    def _read_header(self, hdr: Digest) -> bytes:
        try:
            return self._folder.read(hdr)
        except (IntegrityError, NotFound) as error:
            self._state(self.manifest)  # our own copy was damaged: it is lacking now
            raise AskAgain from error

    def _take_header(self, index: int, blob: bytes) -> None:
        if self.manifest is None or index >= len(self.manifest.entries):
            raise MalformedRequest("a header is of an instance that the study does not have")
        if index not in self._lacking_headers:
            self._sent_though_held()
            return
        hdr = self.manifest.entries[index].hdr
        if sha256(blob) != hdr:
            raise IntegrityError("a header does not match its digest")
        self._folder.put(hdr, blob)
        self.kept_bytes += len(blob)
        self._lacking_headers.discard(index)

    def _take_form(self, form: Form) -> None:
        content = self._content(form.number)
        if form.digest == content.digest:
            form = _own_form(form.number, content)
        elif not self._may_be_rendition(content, form):
            raise MalformedRequest("a content comes in a form that it cannot be made from")
        self._keep_part()
        self._forms[form.number] = form

    def _take_piece(self, piece: Piece) -> None:
        content = self._content(piece.number)
        if piece.number not in self._lacking:
            self._sent_though_held()
            return
        growing = self._growing
        if growing is None or growing.number != piece.number or growing.end != piece.offset:
            growing = self._open(piece, content)
        growing.data += piece.data
        if growing.end > growing.form.length:
            raise MalformedRequest("a content is longer than it should be")
        if growing.end == growing.form.length:
            self._growing = None
            self._complete(content, growing)
        elif piece.last or len(growing.data) >= _BUFFER_BYTES:
            self._keep_part()

    # -- contents ----------------------------------------------------------------------------

    def _state(self, manifest: Manifest | None) -> None:
        self.manifest = manifest
        holds = self._folder.holds
        entries = () if manifest is None else manifest.entries
        self._contents = [] if manifest is None else contents_of(manifest)
        self._lacking_headers = {index for index, entry in enumerate(entries) if not holds(entry.hdr)}
        self._lacking = {
            number for number, content in enumerate(self._contents) if not holds(content.digest, content.length)
        }
        self.begin()

    def _content(self, number: int) -> StudyContent:
        if number >= len(self._contents):
            raise MalformedRequest("a node sends a content that the study does not have")
        return self._contents[number]

    def _sent_though_held(self) -> None:
        """Whoever told us the whole manifest may not know what we hold: then it is told."""
        if self.how == "manifest":
            raise AskAgain

    def _open(self, piece: Piece, content: StudyContent) -> _Growing:
        """Begin to read a record: it begins the content, or follows what is held of it."""
        self._keep_part()
        form = self._forms.get(piece.number) or _own_form(piece.number, content)
        if piece.offset not in (0, self._study.part_length(content.digest, form.digest)):
            raise MalformedRequest("a part of a content does not follow what is held")
        self._growing = _Growing(piece.number, form, piece.offset)
        return self._growing

    def _keep_part(self) -> None:
        growing, self._growing = self._growing, None
        if growing is None or not growing.data:
            return
        content = self._contents[growing.number]
        self.kept_bytes += len(growing.data)
        self._study.append_part(content.digest, growing.form.digest, growing.offset, growing.data)
        complete = sum(offset <= growing.end for offset in growing.form.resolution_offsets)
        if complete:
            self._progress.arrived(self._arrival(content, complete))

    def _complete(self, content: StudyContent, growing: _Growing) -> None:
        """Prove a content that is whole, and keep it."""
        if growing.form.digest == content.digest:
            self._complete_stored(content, growing)
        else:
            self._complete_rendition(content, growing)
        self.kept_bytes += len(growing.data)
        self._study.drop_part(content.digest, growing.form.digest)
        self._lacking.discard(growing.number)
        self._progress.arrived(self._arrival(content, None))

    def _complete_stored(self, content: StudyContent, growing: _Growing) -> None:
        if growing.offset == 0:
            if sha256(growing.data) != content.digest:
                raise IntegrityError("a content does not match its digest")
            self._folder.put(content.digest, growing.data)
            return
        self._study.append_part(content.digest, content.digest, growing.offset, growing.data)
        if self._study.part_digest(content.digest, content.digest) != content.digest:
            self._study.drop_part(content.digest, content.digest)
            raise IntegrityError("a content does not match its digest")
        self._folder.take(content.digest, self._study.part_path(content.digest, content.digest))

    def _complete_rendition(self, content: StudyContent, growing: _Growing) -> None:
        before = b""
        if growing.offset:
            before = self._study.part_path(content.digest, growing.form.digest).read_bytes()[: growing.offset]
        rendition = before + bytes(growing.data)
        try:
            if sha256(rendition) != growing.form.digest:
                raise IntegrityError("a rendition does not match its digest")
            frame = self._rebuilt(content, rendition)
        except IntegrityError:
            self._study.drop_part(content.digest, growing.form.digest)
            raise
        self._folder.put(content.digest, frame)

    def _rebuilt(self, content: StudyContent, rendition: bytes) -> bytes:
        assert self.manifest is not None  # noqa: S101 - contents are of a manifest
        pixel = pixel_description(self.manifest.entries[content.entry])
        assert pixel is not None  # noqa: S101 - the form was not taken otherwise
        try:
            frame = rebuilt(rendition, pixel)
        except RequestError as error:
            raise IntegrityError("a rendition cannot be decoded") from error
        if sha256(frame) != content.digest:
            self.rebuilds = False  # from now on frames are asked for as they are stored
            raise IntegrityError("a rendition does not give the frame it was made from")
        return frame

    def _may_be_rendition(self, content: StudyContent, form: Form) -> bool:
        if self.manifest is None or content.frame_index is None or form.length > 2 * content.length + 64 * KIB:
            return False
        entry = self.manifest.entries[content.entry]
        pixel = pixel_description(entry)
        return pixel is not None and is_rebuildable(entry.transfer_syntax_uid, pixel, content.length)

    def _arrival(self, content: StudyContent, resolutions: int | None) -> Arrival:
        assert self.manifest is not None  # noqa: S101 - contents are of a manifest
        number = None if content.frame_index is None else content.frame_index + 1
        return Arrival(self.manifest.entries[content.entry], number, resolutions)


def _own_form(number: int, content: StudyContent) -> Form:
    return Form(number, content.digest, content.length, ())
