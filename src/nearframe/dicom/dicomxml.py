"""The Native DICOM Model (PS3.19 A.1) as XML, from DICOM JSON and back.

Both models hold the same; this one numbers values, splits names into components, and
names private elements by creator instead of block: (0009,1001) of ACME is tag "00090001"
with ``privateCreator="ACME"``.

Reading refuses every declaration (document type, entities), so nothing expands and
nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Final
from xml.parsers import expat

from nearframe.dicom import vr as vrs
from nearframe.dicom.dicomjson import as_integer, as_number
from nearframe.dicom.dictionary import keyword_of, public_vr
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.units import MIB

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

#: As Limits.max_header_bytes: a header as XML is larger, but what is read here are headers people made.
MAX_XML_BYTES: Final = 64 * MIB
#: Values that may be left out of a document because they are empty: each becomes a null.
MAX_EMPTY_VALUES: Final = 10_000

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_HEAD = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">\n'

#: Characters that XML 1.0 cannot hold, even escaped.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_TAG = re.compile(r"[0-9A-Fa-f]{8}")


# -- writing -------------------------------------------------------------------------------


def to_xml(metadata: DICOMJSON) -> bytes:
    """Return a DICOM JSON object as a Native DICOM Model document."""
    return (_HEAD + "".join(_attributes(metadata)) + "</NativeDicomModel>\n").encode()


def _attributes(dataset: DICOMJSON) -> Iterator[str]:
    for key, attribute in dataset.items():
        yield f'<DicomAttribute {_identity(dataset, key)} vr="{attribute["vr"]}"'
        content = "".join(_content(attribute))
        yield f">\n{content}</DicomAttribute>\n" if content else "/>\n"


def _identity(dataset: DICOMJSON, key: str) -> str:
    """Return the attributes that say which element it is."""
    tag = int(key, 16)
    if tag >> 16 & 1 and tag & 0xFFFF > 0xFF:
        creator = dataset.get(f"{tag >> 16:04X}{tag >> 8 & 0xFF:04X}", {}).get("Value")
        if creator:
            return f'tag="{tag >> 16:04X}00{tag & 0xFF:02X}" privateCreator="{_escaped(str(creator[0]))}"'
    keyword = keyword_of(tag)
    return f'tag="{key}" keyword="{keyword}"' if keyword else f'tag="{key}"'


def _content(attribute: DICOMJSON) -> Iterator[str]:
    if "BulkDataURI" in attribute:
        yield f'<BulkData uri="{_escaped(attribute["BulkDataURI"])}"/>\n'
    elif "InlineBinary" in attribute:
        yield f"<InlineBinary>{attribute['InlineBinary']}</InlineBinary>\n"
    for number, value in enumerate(attribute.get("Value", ()), start=1):
        if attribute["vr"] == "SQ":
            yield f'<Item number="{number}">\n' + "".join(_attributes(value or {})) + "</Item>\n"
        elif value is None:
            continue
        elif attribute["vr"] == "PN":
            yield f'<PersonName number="{number}">\n' + "".join(_name(value)) + "</PersonName>\n"
        else:
            yield f'<Value number="{number}">{_escaped(str(value))}</Value>\n'


def _name(groups: dict[str, str]) -> Iterator[str]:
    for label in _GROUPS:
        if label in groups:
            parts = groups[label].split("^", len(_COMPONENTS) - 1)
            components = zip(_COMPONENTS, parts, strict=False)
            yield f"<{label}>"
            yield from (f"<{name}>{_escaped(part)}</{name}>" for name, part in components if part)
            yield f"</{label}>\n"


def _escaped(text: str) -> str:
    # A bare carriage return would be read back as a line feed (XML 1.0 section 2.11).
    return escape(_NO_XML.sub("\ufffd", text)).replace("\r", "&#13;")


# -- reading -------------------------------------------------------------------------------


def from_xml(data: bytes, limits: Limits | None = None) -> DICOMJSON:
    """Read a Native DICOM Model document as DICOM JSON.

    Private elements get the block of the creator element that the document holds, else the
    next free one.

    Raises
    ------
    MalformedRequest
        If it is not such a document, or declares anything.
    LimitExceeded
        If it is too large or too deep.
    """
    if len(data) > MAX_XML_BYTES:
        raise LimitExceeded("bytes of an XML document", MAX_XML_BYTES, len(data))
    return _Reader(limits or Limits()).read(data)


class _Dataset:
    """A data set being read: attributes, and which private block belongs to whom."""

    def __init__(self, attributes: DICOMJSON) -> None:
        self.attributes = attributes
        self._pending: list[tuple[int, str, DICOMJSON]] = []

    def add(self, tag: int, creator: str | None, attribute: DICOMJSON) -> None:
        if creator is None:
            self.attributes[f"{tag:08X}"] = attribute
        else:
            self._pending.append((tag, creator, attribute))

    def close(self) -> None:
        """Give private elements their blocks, once every creator element is known; order by tag."""
        for tag, creator, attribute in self._pending:
            group = tag >> 16
            block = self._block(group, creator)
            self.attributes[f"{group:04X}{block:02X}{tag & 0xFF:02X}"] = attribute
        ordered = sorted(self.attributes.items())
        self.attributes.clear()
        self.attributes.update(ordered)

    def _block(self, group: int, creator: str) -> int:
        for block in range(0x10, 0x100):
            holder = self.attributes.setdefault(f"{group:04X}00{block:02X}", {"vr": "LO", "Value": [creator]})
            if holder.get("Value") == [creator]:
                return block
        raise MalformedRequest("no private block is left in a group")


class _Reader:
    """Builds DICOM JSON from parser events: a stack of what is open."""

    def __init__(self, limits: Limits) -> None:
        self._max_nesting = limits.max_nesting
        self._max_elements = limits.max_elements
        self._elements = 0
        self._datasets: list[_Dataset] = []
        self._attributes: list[tuple[int, str | None, DICOMJSON]] = []
        self._empty_values = MAX_EMPTY_VALUES
        self._number = 0
        self._name: dict[str, list[str]] = {}
        self._group = ""
        self._text: list[str] | None = None
        self._result: DICOMJSON | None = None

    def read(self, data: bytes) -> DICOMJSON:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        parser.buffer_text = True
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise MalformedRequest(f"not an XML document: {expat.ErrorString(error.code)}") from error
        except (LookupError, ValueError) as error:
            raise MalformedRequest("an XML document in an encoding that is not known here") from error
        if self._result is None:
            raise MalformedRequest("not a Native DICOM Model document")
        return self._result

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        handler = _STARTS.get(name)
        if handler is not None:
            handler(self, name, attributes)

    def _end(self, name: str) -> None:
        name = name.rpartition(" ")[2]
        handler = _ENDS.get(name)
        if handler is not None:
            handler(self, name)
        self._text = None

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    # -- what opens

    def _open_model(self, name: str, attributes: dict[str, str]) -> None:
        if self._datasets or self._result is not None:
            raise MalformedRequest("a Native DICOM Model inside another")
        self._datasets.append(_Dataset({}))

    def _open_attribute(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._datasets) != len(self._attributes) + 1:
            raise MalformedRequest("a DicomAttribute outside a data set")
        self._elements += 1
        if self._elements > self._max_elements:
            raise LimitExceeded("max_elements", self._max_elements)
        text = attributes.get("tag", "")
        if not _TAG.fullmatch(text):
            raise MalformedRequest("a DicomAttribute without tag")
        tag = int(text, 16)
        vr = attributes.get("vr") or public_vr(tag) or "UN"
        if vr not in vrs.KNOWN:
            raise MalformedRequest("a DicomAttribute with a VR that does not exist")
        self._attributes.append((tag, attributes.get("privateCreator"), {"vr": vr}))

    def _open_item(self, name: str, attributes: dict[str, str]) -> None:
        attribute = self._attribute()
        if len(self._datasets) > self._max_nesting:
            raise LimitExceeded("max_nesting", self._max_nesting)
        dataset = _Dataset({})
        attribute.setdefault("Value", []).append(dataset.attributes)
        self._datasets.append(dataset)

    def _open_name(self, name: str, attributes: dict[str, str]) -> None:
        self._number = _value_number(attributes)
        self._name = {}

    def _open_group(self, name: str, attributes: dict[str, str]) -> None:
        self._group = name
        self._name[name] = [""] * len(_COMPONENTS)

    def _open_value(self, name: str, attributes: dict[str, str]) -> None:
        self._number = _value_number(attributes)
        self._text = []

    def _open_text(self, name: str, attributes: dict[str, str]) -> None:
        self._text = []

    def _open_bulk(self, name: str, attributes: dict[str, str]) -> None:
        self._attribute()["BulkDataURI"] = attributes.get("uri") or attributes.get("uuid") or ""

    # -- what closes

    def _close_model(self, name: str) -> None:
        dataset = self._datasets.pop()
        dataset.close()
        self._result = dataset.attributes

    def _close_item(self, name: str) -> None:
        self._datasets.pop().close()

    def _close_attribute(self, name: str) -> None:
        tag, creator, attribute = self._attributes.pop()
        if all(value is None for value in attribute.get("Value", ())):
            attribute.pop("Value", None)
        self._datasets[-1].add(tag, creator, attribute)

    def _close_value(self, name: str) -> None:
        attribute = self._attribute()
        self._put(attribute, _typed(attribute["vr"], "".join(self._text or ())))

    def _close_name(self, name: str) -> None:
        groups = {label: "^".join(parts).rstrip("^") for label, parts in self._name.items()}
        self._put(self._attribute(), {label: text for label, text in groups.items() if text} or None)

    def _close_component(self, name: str) -> None:
        if self._group not in self._name:
            raise MalformedRequest("a component outside a name")
        self._name[self._group][_COMPONENTS.index(name)] = "".join(self._text or ())

    def _close_inline(self, name: str) -> None:
        self._attribute()["InlineBinary"] = "".join("".join(self._text or ()).split())

    def _attribute(self) -> DICOMJSON:
        if not self._attributes or len(self._datasets) != len(self._attributes):
            raise MalformedRequest("a value outside a DicomAttribute")
        return self._attributes[-1][2]

    def _put(self, attribute: DICOMJSON, value: Any) -> None:
        values = attribute.setdefault("Value", [])
        missing = self._number - len(values)
        self._empty_values -= max(0, missing - 1)
        if self._empty_values < 0:
            raise LimitExceeded("empty values", MAX_EMPTY_VALUES)
        values.extend([None] * missing)
        values[self._number - 1] = value


def _refuse(*declaration: object) -> None:
    raise MalformedRequest("declarations are not allowed in XML metadata")


def _value_number(attributes: dict[str, str]) -> int:
    text = attributes.get("number", "")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) > 0):
        raise MalformedRequest("a value without number")
    return int(text)


def _typed(vr: str, text: str) -> Any:
    """Return a number for the VRs that DICOM JSON writes as numbers, where `text` is one."""
    if vr in ("IS", "SL", "SS", "SV", "UL", "US", "UV"):
        return as_integer(text)
    if vr in ("DS", "FD", "FL"):
        return as_number(text)
    return text or None


_STARTS: Final[dict[str, Callable[[_Reader, str, dict[str, str]], None]]] = {
    "NativeDicomModel": _Reader._open_model,
    "DicomAttribute": _Reader._open_attribute,
    "Item": _Reader._open_item,
    "Value": _Reader._open_value,
    "PersonName": _Reader._open_name,
    "InlineBinary": _Reader._open_text,
    "BulkData": _Reader._open_bulk,
    **dict.fromkeys(_GROUPS, _Reader._open_group),
    **dict.fromkeys(_COMPONENTS, _Reader._open_text),
}

_ENDS: Final[dict[str, Callable[[_Reader, str], None]]] = {
    "NativeDicomModel": _Reader._close_model,
    "DicomAttribute": _Reader._close_attribute,
    "Item": _Reader._close_item,
    "Value": _Reader._close_value,
    "PersonName": _Reader._close_name,
    "InlineBinary": _Reader._close_inline,
    **dict.fromkeys(_COMPONENTS, _Reader._close_component),
}
