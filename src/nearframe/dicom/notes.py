"""Codes of the oddities we tolerate, with what people are told. Never with values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Final

NO_PREAMBLE: Final = "no_preamble"
NO_META_HEADER: Final = "no_meta_header"
NO_TRANSFER_SYNTAX: Final = "no_transfer_syntax"
WRONG_META_LENGTH: Final = "wrong_meta_length"
WRONG_ENCODING: Final = "wrong_encoding"
WRONG_VR: Final = "wrong_vr"
UNREADABLE_SEQUENCE: Final = "unreadable_sequence"
UNREADABLE_TAIL: Final = "unreadable_tail"
TRAILING_BYTES: Final = "trailing_bytes"
NO_DELIMITER: Final = "no_delimiter"
DUPLICATE_TAG: Final = "duplicate_tag"
ZLIB_HEADER: Final = "zlib_header"
WRONG_CHARACTER_SET: Final = "wrong_character_set"
UNREADABLE_VALUE: Final = "unreadable_value"
NO_STUDY_UID: Final = "no_study_uid"
NO_SERIES_UID: Final = "no_series_uid"
NO_SOP_CLASS_UID: Final = "no_sop_class_uid"
FRAMES_NOT_FOUND: Final = "frames_not_found"
FRAMES_NOT_ALIGNED: Final = "frames_not_aligned"
WRONG_OFFSET_TABLE: Final = "wrong_offset_table"
NOT_A_PICTURE: Final = "not_a_picture"
VIDEO: Final = "video"

MEANING: Final[dict[str, str]] = {
    NO_PREAMBLE: "the 128-byte preamble is missing",
    NO_META_HEADER: "there is no File Meta Information; the encoding was found from the bytes",
    NO_TRANSFER_SYNTAX: "the File Meta Information names no transfer syntax; it was found from the bytes",
    WRONG_META_LENGTH: "the length of the File Meta Information is wrong; it was read to its last element",
    WRONG_ENCODING: "the data set is not encoded as its transfer syntax says",
    WRONG_VR: "an element has a value representation that does not exist",
    UNREADABLE_SEQUENCE: "a sequence could not be read and is kept as plain bytes",
    UNREADABLE_TAIL: "the end of the data set could not be read and is kept as plain bytes",
    TRAILING_BYTES: "bytes follow the data set",
    NO_DELIMITER: "the last delimiter is missing",
    DUPLICATE_TAG: "an element occurs twice; the later one counts",
    ZLIB_HEADER: "the deflated data set has a zlib header, which PS3.5 A.5 does not allow",
    WRONG_CHARACTER_SET: "text does not fit its Specific Character Set",
    UNREADABLE_VALUE: "a value does not fit its value representation",
    NO_STUDY_UID: "there is no Study Instance UID; one was derived",
    NO_SERIES_UID: "there is no Series Instance UID; one was derived",
    NO_SOP_CLASS_UID: "there is no SOP Class UID",
    FRAMES_NOT_FOUND: "the pixel data could not be cut into its frames",
    FRAMES_NOT_ALIGNED: "frames do not begin at a byte; each is kept a second time, moved to one",
    WRONG_OFFSET_TABLE: "the offset table does not fit the fragments; frames were found without it",
    NOT_A_PICTURE: "there is pixel data, but the attributes that describe it are missing",
    VIDEO: "the pixel data is a video stream, kept whole",
}


def summarise(notes: Iterable[Iterable[str]]) -> list[tuple[str, str, int]]:
    """Return code, meaning and number of instances of every note, most frequent first.

    Parameters
    ----------
    notes
        Of each instance. A code of a newer release is its own meaning.
    """
    counts = Counter(chain.from_iterable(notes))
    return [(code, MEANING.get(code, code), count) for code, count in sorted(counts.items(), key=_most_frequent_first)]


def _most_frequent_first(counted: tuple[str, int]) -> tuple[int, str]:
    code, count = counted
    return -count, code
