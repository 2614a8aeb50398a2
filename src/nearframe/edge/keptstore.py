"""The content store of an edge tells what came, on whose behalf; what is fetched is asked about first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nearframe.errors import NotAdmitted
from nearframe.ids import Digest
from nearframe.storage.packs import PackStore
from nearframe.storage.ports import Buffer, ContentKind, StudyRef
from nearframe.units import MIB

#: Larger contents reach some of their readers through the store: these are always kept.
_LARGE_BYTES = 8 * MIB


def _unheard(_study: StudyRef, _size_bytes: int) -> None:
    pass


class KeptStore(PackStore):
    """A `PackStore` that tells.

    Attributes
    ----------
    on_growth
        Told, in the thread of the writer, of each frame or value that was written, and its plain bytes.
    """

    on_growth: Callable[[StudyRef, int], None] = staticmethod(_unheard)

    def append(
        self,
        study: StudyRef,
        kind: ContentKind,
        digest: Digest,
        size: int,
        chunks: Iterable[Buffer],
        *,
        into_reserve: bool = False,
    ) -> bool:
        written = super().append(study, kind, digest, size, chunks, into_reserve=into_reserve)
        if written and kind is not ContentKind.HEADER:
            self.on_growth(study, size)
        return written


class AdmittedContents:
    """Where what was fetched is kept, if it is to be kept. What an edge takes in itself does not come this way.

    Parameters
    ----------
    admits
        Asked, in the thread of the writer, whether what comes of a study is kept.
    """

    def __init__(self, store: KeptStore, admits: Callable[[StudyRef], bool]) -> None:
        self._store = store
        self._admits = admits

    def append(self, study: StudyRef, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[Buffer]) -> bool:
        """Add a content as a store does.

        Raises
        ------
        NotAdmitted
            If it is not to be kept.
        """
        if size <= _LARGE_BYTES and not self._admits(study):
            raise NotAdmitted(size)
        return self._store.append(study, kind, digest, size, chunks)
