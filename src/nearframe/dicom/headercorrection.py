"""Applying a correction to a header: the elements it names are written anew, every other byte stays.

Text is written in the character set that the object has. Where that lacks a character, the
object's text becomes UTF-8 (ISO_IR 192), which is done for the top of the data set only:
sequences are not taken apart for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from nearframe.dicom.attributeedit import AttributeEdit, texts_of
from nearframe.dicom.build import build_element
from nearframe.dicom.charset import CharacterSet, character_set
from nearframe.dicom.dicomjson import SPECIFIC_CHARACTER_SET
from nearframe.dicom.element import DataSet, Element, Encoding
from nearframe.dicom.header_source import HeaderSource
from nearframe.dicom.headeredit import HeaderEdit, apply
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.part10 import parse
from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.dicom.vr import CHARSET_TEXT, LONG_FORM, ORDERED
from nearframe.errors import Conflict
from nearframe.wire.header import HeaderBlob

_UTF8: Final = CharacterSet(("ISO_IR 192",))


def corrected(
    header: HeaderBlob, transfer_syntax_uid: str, edit: AttributeEdit, limits: Limits | None = None
) -> HeaderBlob:
    """Return a header after an edit; the same header if it says so already.

    Raises
    ------
    Conflict
        If the object is such that this cannot be done exactly.
    MalformedDICOM
        If the header cannot be read.
    """
    if transfer_syntax(transfer_syntax_uid).deflated:
        raise Conflict("a deflated object has no header apart from its pixels: it is corrected where it was made")
    dataset = parse(HeaderSource(header), limits).dataset
    named = {int(key, 16) for key in (*edit.set, *edit.remove)}
    tags = [element.tag for element in dataset.elements]
    if len(set(tags)) < len(tags) and any(tags.count(tag) > 1 for tag in named):
        raise Conflict("the object has an attribute twice that is to be corrected: which one counts is not known")
    changes = _changes(dataset, edit)
    new = apply(header, HeaderEdit(dataset=tuple(sorted(changes.items()))), limits)
    if len(new.holes) != len(header.holes):
        raise Conflict("an attribute to be corrected has a value that is kept apart from the header, as pixels are")
    return new


def _changes(dataset: DataSet, edit: AttributeEdit) -> dict[int, bytes | None]:
    charset, changes = _character_set(dataset, edit)
    for key, attribute in edit.set.items():
        # Whatever the VR of this object's own element: the dictionary's is the right one.
        changes[int(key, 16)] = _written(dataset, int(key, 16), attribute, charset)
    return changes | {int(key, 16): None for key in edit.remove}


def _written(dataset: DataSet, tag: int, attribute: DICOMJSON, charset: CharacterSet) -> bytes:
    """Return an element as the data set frames its own."""
    implicit_vr = dataset.encoding is Encoding.IMPLICIT_LITTLE
    element = build_element(tag, attribute, charset.encode, implicit_vr=implicit_vr)
    if dataset.encoding is not Encoding.EXPLICIT_BIG:
        return element
    if attribute["vr"] in ORDERED or attribute["vr"] in LONG_FORM:
        raise Conflict("the object is in big endian order, in which only short text is corrected")
    group, number, code, length = struct.unpack("<HH2sH", element[:8])
    return struct.pack(">HH2sH", group, number, code, length) + element[8:]


def _character_set(dataset: DataSet, edit: AttributeEdit) -> tuple[CharacterSet, dict[int, bytes | None]]:
    """Return the character set to write in, and what has to be written anew for it."""
    element = dataset.by_tag.get(SPECIFIC_CHARACTER_SET)
    found = character_set(dataset.value(element)) if element is not None else CharacterSet(())
    try:
        for text in texts_of(edit.set):
            found.encode(text)
    except UnicodeError:
        return _UTF8, _respelled(dataset, found)
    return found, {}


def _respelled(dataset: DataSet, charset: CharacterSet) -> dict[int, bytes | None]:
    """Return the text elements of a data set in UTF-8, as far as they are other bytes then, and what says so."""
    if any(_is_foreign(dataset, element) for element in _nested(dataset)):
        raise Conflict(
            "a value cannot be written in the object's character set, and text in its sequences is in that set: "
            "write the value with the characters of that set"
        )
    terms = {"vr": "CS", "Value": ["ISO_IR 192"]}
    changes: dict[int, bytes | None] = {SPECIFIC_CHARACTER_SET: _written(dataset, SPECIFIC_CHARACTER_SET, terms, _UTF8)}
    for element in dataset.elements:
        if element.items is None and _is_foreign(dataset, element):
            text = {"vr": element.vr, "Value": [charset.decode(dataset.value(element)).rstrip(" \0")]}
            changes[element.tag] = _written(dataset, element.tag, text, _UTF8)
    return changes


def _is_foreign(dataset: DataSet, element: Element) -> bool:
    """Return whether an element is text that means something else in another character set."""
    if element.vr not in CHARSET_TEXT or element.length == 0:
        return False
    raw = dataset.value(element)
    return not raw.isascii() or b"\x1b" in raw


def _nested(dataset: DataSet) -> Iterator[Element]:
    """Yield the elements within sequences that are in the character set of the data set itself."""
    waiting = [item for element in dataset.elements for item in element.items or ()]
    while waiting:
        item = waiting.pop()
        if item.get(SPECIFIC_CHARACTER_SET) is not None:
            continue
        for element in item.elements:
            if element.items is None:
                yield element
            else:
                waiting += element.items
