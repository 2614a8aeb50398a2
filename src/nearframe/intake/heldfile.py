"""A file that is in the store by header and pieces already, read as if it had just arrived."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from nearframe.errors import LimitExceeded, MalformedDICOM
from nearframe.ids import Digest
from nearframe.storage.ports import ContentStore, StudyRef
from nearframe.wire.header import HeaderBlob, Hole


class HeldFile:
    """An `ingest.Received` made of contents of a study. On worker threads, but for `close`.

    Parameters
    ----------
    pieces
        Digest of each piece, as the header counts them.

    Raises
    ------
    NotFound, IntegrityError
        Also from `read`, if a content is not there after all, or damaged.
    MalformedRequest
        If the header is no header blob.
    LimitExceeded
        If header or file are larger than any may be.
    """

    def __init__(
        self,
        store: ContentStore,
        study: StudyRef,
        hdr: Digest,
        pieces: Sequence[Digest],
        *,
        max_header_bytes: int,
        max_bytes: int,
    ) -> None:
        if (store.size_of(study, hdr) or 0) > max_header_bytes:
            raise LimitExceeded("max_header_bytes", max_header_bytes)
        header = HeaderBlob.decode(store.read(study, hdr))
        self._store = store
        self._study = study
        self._pieces = pieces
        self._parts = list(header.plan())
        lengths = [len(part) if isinstance(part, bytes) else part.length for part in self._parts]
        #: Where each part begins, and where the last one ends.
        self._starts = [0, *accumulate(lengths)]
        if self.size > max_bytes:
            raise LimitExceeded("max_instance_bytes", max_bytes, self.size)

    @property
    def size(self) -> int:
        return self._starts[-1]

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes; see `dicom.model.Source`."""
        stop = offset + length
        if offset < 0 or length < 0 or stop > self.size:
            raise MalformedDICOM(f"{length} bytes wanted where the object ends", offset=offset)
        out = []
        index = bisect_right(self._starts, offset) - 1
        while offset < stop:
            start, end = self._starts[index], self._starts[index + 1]
            last = min(stop, end)
            if last > offset:
                out.append(self._slice(self._parts[index], offset - start, last - start))
                offset = last
            index += 1
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> None:
        """Forget the header."""
        self._parts = []

    def _slice(self, part: bytes | Hole, first: int, last: int) -> bytes:
        if isinstance(part, bytes):
            return part[first:last]
        if not part.piece_index < len(self._pieces):
            raise MalformedDICOM("the header refers to a piece that was not offered")
        start = part.piece_offset + first
        found = self._store.read(self._study, self._pieces[part.piece_index], start, start + last - first)
        if len(found) != last - first:
            raise MalformedDICOM("a piece is shorter than the header says")
        return found
