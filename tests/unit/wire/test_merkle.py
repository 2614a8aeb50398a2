"""The tree of RFC 6962, against its own recursive definition."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from nearframe.wire.merkle import EMPTY_ROOT, leaf, leaves, merkle_root, subtree

digests = st.binary(min_size=32, max_size=32)


def naive_root(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


@given(st.lists(digests, max_size=40))
def test_root_is_that_of_rfc_6962(hashes: list[bytes]) -> None:
    assert merkle_root(hashes) == naive_root(hashes)


def test_vectors() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf("hdr", b"x") == hashlib.sha256(b"\x00\x03hdrx").digest()
    assert leaves("hdr", [b"x", b"y"]) == [leaf("hdr", b"x"), leaf("hdr", b"y")]


def test_labels_keep_kinds_apart() -> None:
    assert leaf("hdr", b"") != leaf("enc", b"")
    assert leaf("ab", b"c") != leaf("a", b"bc")


def test_a_subtree_binds_its_number_of_leaves() -> None:
    a, b = leaf("x", b"a"), leaf("x", b"b")
    assert subtree("t", [merkle_root([a, b])]) != subtree("t", [a, b])
