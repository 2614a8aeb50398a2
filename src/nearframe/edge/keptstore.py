"""The content store of an edge: it takes what is to be kept, and tells what came, on whose behalf."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nearframe.errors import NotAdmitted
from nearframe.ids import Digest
from nearframe.storage.packs import PackStore
from nearframe.storage.ports import Buffer, ContentKind, StudyRef
from nearframe.units import MIB

#: Larger contents reach their readers through the store: these are always taken.
_LARGE_BYTES = 8 * MIB


def _everything(_study: StudyRef) -> bool:
    return True


def _unheard(_study: StudyRef, _size_bytes: int) -> None:
    pass


class KeptStore(PackStore):
    """A `PackStore` that is asked and tells. Headers are always taken, and not told of.

    Attributes
    ----------
    admits
        Asked, in the thread of the writer, whether frames and values of a study are kept.
    on_growth
        Told, in that thread, of each frame or value that was written, and its plain bytes.
    """

    admits: Callable[[StudyRef], bool] = staticmethod(_everything)
    on_growth: Callable[[StudyRef, int], None] = staticmethod(_unheard)

    def append(self, study: StudyRef, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[Buffer]) -> bool:
        """Add a content as any store does.

        Raises
        ------
        NotAdmitted
            If it is not to be kept.
        """
        is_header = kind is ContentKind.HEADER
        if not is_header and size <= _LARGE_BYTES and not self.admits(study):
            raise NotAdmitted(size)
        written = super().append(study, kind, digest, size, chunks)
        if written and not is_header:
            self.on_growth(study, size)
        return written
