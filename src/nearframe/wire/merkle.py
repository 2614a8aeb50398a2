"""Merkle trees as in RFC 6962 section 2.1, with labelled leaves.

::

    leaf(label, data)  = SHA-256(0x00 || u8 bytes of label || label || data)
    node(left, right)  = SHA-256(0x01 || left || right)
    root of no leaves  = SHA-256 of nothing
    root of one leaf   = the leaf
    root of n leaves   = node(root of the first k, root of the rest), k the largest power of two < n

The label says what a leaf is, so that a digest of one kind never passes for another. A
tree inside a tree is a leaf holding its number of leaves and its root (`subtree`): the
count keeps trees of other shapes apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from nearframe.ids import Digest, sha256

EMPTY_ROOT = sha256(b"")


def leaf(label: str, data: bytes) -> Digest:
    """Return the hash of a leaf; `label` has at most 255 bytes of ASCII."""
    return sha256(_prefix(label) + data)


def leaves(label: str, items: Iterable[bytes]) -> list[Digest]:
    """Return the hash of every item as a leaf with the same label."""
    start = hashlib.sha256(_prefix(label))
    hashes = []
    for item in items:
        state = start.copy()
        state.update(item)
        hashes.append(state.digest())
    return hashes


def merkle_root(hashes: Sequence[Digest]) -> Digest:
    """Return the root over leaf hashes."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        # Pairing from the left and carrying an odd one up gives RFC 6962's split.
        paired = [sha256(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1 :]
    return level[0]


def subtree(label: str, hashes: Sequence[Digest]) -> Digest:
    """Return a tree as one leaf of a larger one."""
    return leaf(label, len(hashes).to_bytes(8, "big") + merkle_root(hashes))


def _prefix(label: str) -> bytes:
    name = label.encode("ascii")
    return bytes((0, len(name))) + name
