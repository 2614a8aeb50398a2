"""A correction of attributes as data: what it sets and what it removes, checked against PS3.6.

Only what describes can be corrected. What the pixels are read by, what makes an object the
object it is, and binary values are left to whoever makes objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from nearframe.dicom.attributes import keys
from nearframe.dicom.build import build_element
from nearframe.dicom.dictionary import US_OR_SS, keyword_of, public_vr, tag_of
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.vr import BINARY, NUMERIC, SINGLE_VALUED_TEXT
from nearframe.errors import MalformedDICOM, MalformedRequest

#: Command, file meta and directory groups; curves, waveforms' neighbours, pixel data, signatures, padding.
_PROTECTED_GROUPS: Final = frozenset({0x0000, 0x0002, 0x0004, 0x7FE0, 0xFFFA, 0xFFFC, 0xFFFE})
_PROTECTED: Final = (
    "SpecificCharacterSet",
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "LossyImageCompression"),
)
_STUDY: Final = "0020000D"
_SERIES: Final = "0020000E"
_MAX_ATTRIBUTES: Final = 200  # a form has dozens; each is written into every header
_MAX_NAME_CHARS: Final = 64
_MAX_DEPTH: Final = 8
#: How those are written that people get wrong (PS3.5 Table 6.2-1).
_FORMS: Final = {
    "AS": ": written like 042Y, 018M, 003W or 010D",
    "CS": ": capitals, digits, spaces and underscores, 16 at most",
    "DA": ": written YYYYMMDD",
    "TM": ": written HHMMSS",
    "UI": ": numbers joined by dots, 64 characters at most",
}
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class AttributeEdit:
    """Attributes at the top of a data set, by tag as DICOM JSON writes it.

    Attributes
    ----------
    set
        What is to be there, instead of or beside what is.
    remove
        What is to go.
    """

    set: DICOMJSON = field(default_factory=dict)
    remove: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.set or self.remove)

    def then(self, other: AttributeEdit) -> AttributeEdit:
        """Return both in one: where they disagree, `other` is right."""
        kept = {tag: value for tag, value in self.set.items() if tag not in other.remove}
        return AttributeEdit(kept | other.set, (self.remove - other.set.keys()) | other.remove)

    def filed(self, study_instance_uid: str, series_instance_uid: str | None) -> AttributeEdit:
        """Return the edit that also files an object in another study, and in another series if one is named."""
        uids = {_STUDY: study_instance_uid} | ({_SERIES: series_instance_uid} if series_instance_uid else {})
        return AttributeEdit(
            {**self.set, **{tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}}, self.remove
        )

    @property
    def files_in(self) -> str | None:
        """The study that an object is filed in by it; None if that stays."""
        return self.set[_STUDY]["Value"][0] if _STUDY in self.set else None


def read_edit(wanted: Mapping[str, Any], unwanted: Iterable[str] = ()) -> AttributeEdit:
    """Read a correction as a person or program writes it.

    Parameters
    ----------
    wanted
        By keyword or tag: text as DICOM writes it (values apart by a backslash, "" for an empty
        value), a list of values, or an attribute of DICOM JSON.
    unwanted
        Keywords or tags.

    Raises
    ------
    MalformedRequest
        If a name is none of PS3.6, a value does not fit its VR or VM, or an attribute cannot be corrected.
    """
    remove = frozenset(_removable(name) for name in unwanted)
    set_ = dict(sorted(_data_set(wanted, 0).items()))
    if both := remove & set_.keys():
        raise MalformedRequest(f"{_name(min(both))} cannot be set and removed at once")
    if len(set_) + len(remove) > _MAX_ATTRIBUTES:
        raise MalformedRequest(f"a correction names {_MAX_ATTRIBUTES} attributes at most")
    return AttributeEdit(set_, remove)


def texts_of(attributes: Any) -> Iterator[str]:
    """Yield every text in DICOM JSON."""
    if isinstance(attributes, str):
        yield attributes
    elif isinstance(attributes, Mapping):
        for value in attributes.values():
            yield from texts_of(value)
    elif isinstance(attributes, list):
        for value in attributes:
            yield from texts_of(value)


@cache
def _protected() -> frozenset[str]:
    return frozenset(keys(*_PROTECTED))


def _removable(name: str) -> str:
    tag = _tag(name)
    key = f"{tag:08X}"
    if key in _protected() or tag >> 16 in _PROTECTED_GROUPS or tag & 0xFFFF == 0:
        raise MalformedRequest(
            f"{_name(key)} cannot be corrected: it says what the object is, or how its pixels are read"
        )
    return key


def _data_set(wanted: Mapping[str, Any], depth: int) -> DICOMJSON:
    if depth > _MAX_DEPTH:
        raise MalformedRequest(f"sequences nest {_MAX_DEPTH} deep at most here")
    found: DICOMJSON = {}
    for name, value in wanted.items():
        key = _removable(name) if depth == 0 else f"{_tag(name):08X}"
        if key in found:
            raise MalformedRequest(f"{_name(key)} is set twice")
        found[key] = _attribute(key, value, depth)
    return found


def _attribute(key: str, value: Any, depth: int) -> DICOMJSON:
    vr = _vr(key)
    if isinstance(value, Mapping):
        if value.keys() - {"vr", "Value"} or value.get("vr", vr) != vr:
            raise MalformedRequest(f"{_name(key)} is of VR {vr}: {{'vr', 'Value'}}, a list of values, or text")
        value = value.get("Value", [])
    if vr == "SQ":
        return _sequence(key, value, depth)
    values = value if isinstance(value, list) else _split(vr, value)
    _check_multiplicity(key, len(values))
    attribute = {"vr": vr, "Value": [_value(key, vr, one) for one in values]} if values else {"vr": vr}
    try:
        build_element(int(key, 16), attribute, str.encode, implicit_vr=False)
    except MalformedDICOM as error:
        raise MalformedRequest(f"a value of {_name(key)} does not fit its VR {vr}") from error
    return attribute


def _sequence(key: str, items: Any, depth: int) -> DICOMJSON:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise MalformedRequest(f"{_name(key)} is a sequence: a list of items, each an object of attributes")
    read = [_data_set(item, depth + 1) for item in items]
    return {"vr": "SQ", "Value": read} if read else {"vr": "SQ"}


def _split(vr: str, value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    if isinstance(value, str) and vr not in SINGLE_VALUED_TEXT:
        return list(value.split("\\"))
    return [value]


def _value(key: str, vr: str, value: Any) -> Any:
    """Return one value as DICOM JSON has it, or refuse it."""
    if vr in NUMERIC:
        return _number(key, vr, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and vr in ("DS", "IS"):
        value = str(value)
    if vr == "PN" and isinstance(value, Mapping) and not value.keys() - set(_PN_GROUPS):
        value = "=".join(str(value.get(group, "")) for group in _PN_GROUPS).rstrip("=")
    if not isinstance(value, str) or not _is_fit(vr, value):
        raise MalformedRequest(f"a value of {_name(key)} does not fit its VR {vr}{_FORMS.get(vr, '')}")
    if vr == "PN":
        return {group: part for group, part in zip(_PN_GROUPS, value.split("="), strict=False) if part}
    return value


def _number(key: str, vr: str, value: Any) -> int | float:
    try:
        return float(value) if vr in ("FD", "FL") else int(value)
    except (TypeError, ValueError) as error:
        raise MalformedRequest(f"a value of {_name(key)} does not fit its VR {vr}") from error


def _is_fit(vr: str, value: str) -> bool:
    """Return whether PS3.5 Table 6.2-1 allows a value, control characters aside."""
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    if any(not c.isprintable() for c in value) and vr not in ("LT", "ST", "UT"):
        return False
    try:
        validate_value(vr, value, RAISE)
    except ValueError:
        return False
    return True


def _check_multiplicity(key: str, count: int) -> None:
    """Refuse more or fewer values than PS3.6 says; none at all is an empty attribute, which every type 2 may be."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VM

    tag = int(key, 16)
    if count == 0 or not dictionary_has_tag(tag):
        return
    least, _, most = dictionary_VM(tag).partition("-")
    step = int(most[:-1] or 1) if most.endswith("n") else 0
    fits = count >= int(least) and (count % step == 0 if step else count <= int(most or least))
    if not fits:
        raise MalformedRequest(f"{_name(key)} has {dictionary_VM(tag)} values, not {count}")


def _vr(key: str) -> str:
    tag = int(key, 16)
    vr = None if tag >> 16 & 1 else public_vr(tag)
    if vr is None:
        raise MalformedRequest(f"{_name(key)} is private or not in PS3.6: it can be removed, not set")
    if vr in BINARY or vr == US_OR_SS:
        raise MalformedRequest(f"{_name(key)} is binary, or of a VR that depends on the pixels: it cannot be set")
    return vr


def _tag(name: str) -> int:
    """Return the tag of a keyword, or of eight hex digits with or without a comma in between."""
    known = tag_of(name)
    if known is not None:
        return known
    digits = name.replace(",", "", 1).strip("()")
    if len(digits) != 8 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        shown = "".join(c if c.isalnum() and c.isascii() else "?" for c in name[:_MAX_NAME_CHARS])
        raise MalformedRequest(f"{shown} is neither a keyword of PS3.6 nor a tag")
    return int(digits, 16)


def _name(key: str) -> str:
    return keyword_of(int(key, 16)) or f"({key[:4]},{key[4:]})"
