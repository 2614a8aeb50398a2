"""What search and reports need of a hashed frame, and when two of them are the same content."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from nearframe.ids import Digest, Identity


class HashedFrame(Protocol):
    """One frame with its digests and its perceptual hash (`storage.ports.PerceptualRow` is one)."""

    @property
    def identity(self) -> Identity: ...
    @property
    def version(self) -> int: ...
    @property
    def frame_index(self) -> int: ...
    @property
    def enc(self) -> Digest: ...
    @property
    def pix(self) -> Digest | None: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def quality(self) -> int: ...
    @property
    def modality(self) -> str: ...
    @property
    def length(self) -> int: ...


class Sameness(IntEnum):
    """How far two frames are proved the same. The order is that of strength."""

    #: Nothing is proved: other content, however alike it looks.
    UNPROVED = 0
    #: The same samples in another encoding.
    SAME_PIXELS = 1
    #: The same bytes.
    SAME_BYTES = 2


def sameness(enc: Digest, pix: Digest | None, other_enc: Digest, other_pix: Digest | None) -> Sameness:
    """Return what the digests of two frames prove.

    The only function here that decides identity; it takes digests and nothing else, so that
    no likeness can ever stand in for them.
    """
    if enc == other_enc:
        return Sameness.SAME_BYTES
    if pix is not None and pix == other_pix:
        return Sameness.SAME_PIXELS
    return Sameness.UNPROVED
