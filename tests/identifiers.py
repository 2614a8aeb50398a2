"""What of an object tells whom it is of, in the ways in which it may be written, and whether a file still has it.

It is read from the original by pydicom, so that a mistake in our own reading is found.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import pydicom

from nearframe.deidentify.table import basic_actions
from nearframe.dicom.charset import CharacterSet, character_set
from nearframe.dicom.dictionary import keyword_of

_TEXTS: Final = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_TEMPORAL: Final = frozenset({"DA", "DT", "TM"})
_WELL_KNOWN: Final = "1.2.840.10008."
#: In the table, but kept: only their items are gone through.
_GONE_THROUGH: Final = "X/Z/U*"
#: What stands for values that are removed.
_DUMMIES: Final = frozenset({"removed", "000000", "19000101", "19000101000000", "yes", "000d"})

_DUMMY_DATE_TIME: Final = b"19000101000000"  # in which there are times
#: UIDs of kinds of things, as opposed to things.
_KINDS: Final = ("ClassUID", "SchemeUID", "ContextUID", "ResourceUID")

#: What is shorter is in any header by chance ...
_LEAST_CHARS, _LEAST_DIGITS, _LEAST_OF_OTHERS = 4, 6, 2
#: ... and this in any megabyte of pixels.
_LEAST_BYTES_IN_PIXELS: Final = 8
_BETWEEN_WORDS = re.compile(r"[\^=\s,.;:_/()-]+")
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_DATE_FORMS: Final = (r"\1-\2-\3", r"\1.\2.\3", r"\1/\2/\3", r"\3.\2.\1", r"\3/\2/\1", r"\2/\3/\1")


class Identifier(NamedTuple):
    """A way to write what an attribute says, in lower case."""

    tag: int
    vr: str
    written: bytes


@dataclass(frozen=True)
class Original:
    """What an object tells of somebody.

    Attributes
    ----------
    study, sop_instance_uid
        Which object it is.
    identifiers
        Of the attributes that the table of PS3.15 lists, and all names and UIDs.
    terms
        Words that it also has where they tell nobody: defined terms, and texts that stay.
    """

    study: str
    sop_instance_uid: str
    identifiers: frozenset[Identifier]
    terms: bytes

    def left_in(self, file: bytes, but: Collection[int] = ()) -> list[str]:
        """Return the tags of what a file still has in some byte, but for attributes that are to be kept."""
        searched = Searched(file)
        return sorted(
            {f"{one.tag:08X}" for one in self.identifiers if one.tag not in but and searched.has(one, self.terms)}
        )

    def of_people(self) -> Iterator[Identifier]:
        """Yield names and numbers of people and their visits."""
        return (one for one in self.identifiers if one.vr == "PN" or (one.tag >> 16 == 0x0010 and one.vr == "LO"))


class Searched:
    """A file in which identifiers are looked for."""

    def __init__(self, file: bytes) -> None:
        self._file = file

    def has(self, one: Identifier, terms: bytes = b"") -> bool:
        """Return whether an identifier is in some byte of it, and not one of some terms."""
        # Samples of 16 bits look like UTF-16.
        is_short = len(one.written) < _LEAST_BYTES_IN_PIXELS or b"\0" in one.written
        where = self._header if is_short else self._all
        return one.written in where and one.written not in terms

    @cached_property
    def _all(self) -> bytes:
        return self._file.lower().replace(_DUMMY_DATE_TIME, bytes(len(_DUMMY_DATE_TIME)))

    @cached_property
    def _header(self) -> bytes:
        """The bytes before pixel data."""
        stream = io.BytesIO(self._file)
        pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        return self._all[: stream.tell()]


def read_original(data: bytes) -> Original:
    """Read what an object tells."""
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    charset = character_set("\\".join(ds.get("SpecificCharacterSet") or ("",)).encode())
    raw = list(_raw(ds))  # once: pydicom replaces what it has looked at
    return Original(
        str(ds.get("StudyInstanceUID", "")),
        str(ds.get("SOPInstanceUID", "")),
        frozenset(_identifiers(raw, charset)),
        b"\0".join(_terms(raw)).lower(),
    )


def _raw(ds: pydicom.Dataset) -> Iterator[tuple[int, str, bytes]]:
    """Yield tag, VR and value of every element that is no sequence, at any depth, but for private ones."""
    for tag in list(ds.keys()):
        if tag.is_private:
            continue
        element = ds.get_item(tag)
        vr = element.VR or ds[tag].VR
        if vr == "SQ":
            for item in ds[tag].value:
                yield from _raw(item)
        elif isinstance(element.value, bytes):
            yield int(tag), vr, element.value


def _is_listed(tag: int) -> bool:
    return basic_actions().get(tag, _GONE_THROUGH) != _GONE_THROUGH


def _is_wanted(tag: int, vr: str) -> bool:
    if vr == "UI":
        return not (keyword_of(tag) or "").endswith(_KINDS)
    return vr == "PN" or (vr in _TEXTS | _TEMPORAL and _is_listed(tag))


def _is_chance(vr: str, way: str) -> bool:
    """Return whether a time of day is written with so few digits that some number has them."""
    return vr == "TM" and len(way) <= _LEAST_DIGITS


def _identifiers(raw: Iterable[tuple[int, str, bytes]], charset: CharacterSet) -> Iterator[Identifier]:
    for tag, vr, value in raw:
        if _is_wanted(tag, vr):
            for text in charset.decode(value).split("\\"):
                for way in filter(_is_telling, set(_ways(vr, text.strip("\0 ")))):
                    if _is_chance(vr, way):
                        continue
                    yield from (Identifier(tag, vr, form.lower()) for form in set(_forms(way, charset)))


def _is_telling(way: str) -> bool:
    least = _LEAST_DIGITS if way.isdigit() else _LEAST_CHARS if way.isascii() else _LEAST_OF_OTHERS
    return len(way) >= least and way not in _DUMMIES


def _ways(vr: str, text: str) -> Iterator[str]:
    """Yield a value, and what somebody may have made of it, in lower case."""
    text = text.lower()
    if vr == "UI":
        if not text.startswith(_WELL_KNOWN):
            yield text
        return
    if text in _DUMMIES:
        return
    yield text
    if vr == "PN":
        yield from text.split("=")
        yield from _BETWEEN_WORDS.split(text)
    elif vr in ("DA", "DT") and (match := _DATE.match(text)):
        yield match[0]
        yield from (match.expand(form) for form in _DATE_FORMS)


def _forms(text: str, charset: CharacterSet) -> Iterator[bytes]:
    """Yield a text in the character sets that a file may have it in."""
    yield from (text.encode("utf-8", "replace"), text.encode("utf-16-le", "replace"))
    with suppress(UnicodeError):  # it was read in another set than the object names
        yield charset.encode(text)


def _terms(raw: Iterable[tuple[int, str, bytes]]) -> Iterator[bytes]:
    return (value for tag, vr, value in raw if vr == "CS" or (vr in _TEXTS - {"PN"} and not _is_listed(tag)))
