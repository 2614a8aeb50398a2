"""What readers found lately: costs them no look-up, no unwrapping, and at last no opening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import IntegrityError, NotFound
from nearframe.ids import Digest
from nearframe.storage.packs.files import CachedFile
from nearframe.storage.packs.opened import Opened, OpenedKey
from nearframe.storage.packs.opening import read_cached
from nearframe.storage.packs.seal import Form
from nearframe.storage.packs.tables import Entry
from nearframe.storage.ports import StudyRef

#: Look-ups remembered, about 1 KB each.
_KNOWN: Final = 8192


@dataclass(slots=True)
class Held:
    """A content that a study may read: found, and its key unwrapped.

    Attributes
    ----------
    generation
        Of what was looked up in: while it stands, every earlier look-up does.
    open_file
        Opens what it stands in; `FileNotFoundError` if that has gone.
    was_read
        True from the first reading on: what is read a second time lately is worth holding opened.
    """

    generation: int
    entry: Entry
    form: Form
    key: AESGCM
    open_file: Callable[[], CachedFile]
    was_read: bool = False


#: Looks a content up; raises `NotFound` or `IntegrityError`.
LookUp: TypeAlias = Callable[[StudyRef, Digest], Held]


class Lately:
    """Look-ups, and contents that were read twice, in bounded memory.

    Parameters
    ----------
    generation
        Says which look-ups still hold.
    memory_bytes
        For opened contents; 0 for none.
    """

    def __init__(self, look_up: LookUp, generation: Callable[[], int], memory_bytes: int) -> None:
        self._look_up = look_up
        self._generation = generation
        self._known: dict[tuple[StudyRef, Digest], Held] = {}
        self._opened = Opened(memory_bytes)
        self._holds_opened = memory_bytes > 0

    def find(self, study: StudyRef, digest: Digest) -> Held:
        """Return a content that the study may read."""
        known = self.known(study, digest)
        if known is not None:
            return known
        found = self._look_up(study, digest)
        if found.generation == self._generation():
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[study, digest] = found
        return found

    def known(self, study: StudyRef, digest: Digest) -> Held | None:
        """Return a content that was found before, if that still holds."""
        known = self._known.get((study, digest))
        return known if known is not None and known.generation == self._generation() else None

    def framed(
        self,
        study: StudyRef,
        digest: Digest,
        head: bytes,
        tail: bytes,
        find: Callable[[StudyRef, Digest], Held | None],
    ) -> bytes | bytearray | None:
        """Return a content as `ContentStore.read_framed` does."""
        try:
            held = find(study, digest)
            if held is None or held.form.chunks > 1:
                return None
            key = OpenedKey(study, digest, head, tail)
            opened = self._opened.get(key) if held.was_read else None
            if opened is not None:
                return opened
            framed = read_cached(held.key, held.form, held.open_file(), held.entry.offset, head, tail)
        except (NotFound, IntegrityError, OSError):
            return None  # `read` looks again, and says what is wrong
        if framed is None or not self._holds_opened:
            return framed
        if not held.was_read:
            held.was_read = True
            return framed
        opened = bytes(framed)
        self._opened.put(key, opened)
        if held.generation != self._generation():
            self._opened.clear()  # its key may have been destroyed meanwhile
        return opened

    def clear(self) -> None:
        """Forget everything: the keys of contents too."""
        self._known.clear()
        self._opened.clear()
