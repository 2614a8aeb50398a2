r"""Messages of HL7 version 2 as text: segments, fields, repetitions, components (HL7 2.5.1 chapter 2, ER7).

::

    MSH|^~\&|ADT|HOSPITAL|...|ADT^A08^ADT_A01|17|P|2.5.1
    PID|1||4711^^^HOSPITAL^MR~1234^^^AHV||Doe^Jane||19700102|F

Fields are counted from 1 as the standard does: MSH-1 is the separator itself. A field is cut
up when somebody asks for it; what nobody asks for costs its characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from nearframe.errors import UnacceptableMessage
from nearframe.hl7.charset import DEFAULT, decode

#: Of one message: orders with a hundred observations have a few hundred.
MAX_SEGMENTS: Final = 2000
#: A field that says: there was a value, and there is none any more (HL7 2.5.1 section 2.5.3).
NULL: Final = '""'
_HEADER: Final = "MSH"
#: Before the header, from engines that write text as Windows does.
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: What stands around messages in a file or batch.
_ENVELOPES: Final = frozenset({"FHS", "BHS", "BTS", "FTS"})
_SEGMENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_HEX: Final = re.compile(r"X(?:[0-9A-Fa-f]{2})+")
#: Highlighting, and commands such as .in+4 (HL7 2.5.1 section 2.7.6).
_FORMATTING: Final = re.compile(r"[HN]|\.[a-z]{2}[+-]?[0-9]*")
#: How separators are written within a text.
_ESCAPES: Final = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
#: Components of a text that is written: one string, or several.
Written = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Separators:
    """The characters that a message is cut up by: those that it names in MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @classmethod
    def read(cls, header: str) -> Separators:
        """Return those that the first segment names.

        Raises
        ------
        UnacceptableMessage
            If it does not name what can be told apart.
        """
        field, named = header[3:4], header[4:].partition(header[3:4] or "|")[0]
        # A fifth one is the truncation character of version 2.7: where values end that were cut.
        if len(named) not in (4, 5) or len({field, *named}) <= len(named) or any(map(_is_text, field + named)):
            raise UnacceptableMessage(102, r"expected four separators, such as ^~\&, that are all different", "MSH", 2)
        return cls(field, *named[:4])


def _is_text(character: str) -> bool:
    return character.isalnum() or character.isspace() or not character.isprintable()


@dataclass(frozen=True, slots=True)
class Segment:
    """A line of a message.

    Attributes
    ----------
    occurrence
        Which one of its name it is, from 1.
    """

    name: str
    occurrence: int
    fields: tuple[str, ...]
    separators: Separators

    def raw(self, field: int) -> str:
        """Return a field as it was written, empty if there is none."""
        return self.fields[field] if field < len(self.fields) else ""

    def is_null(self, field: int) -> bool:
        """Return whether a field says that there is no value any more."""
        return self.raw(field) == NULL

    def repetitions(self, field: int) -> Iterator[Field]:
        """Yield the repetitions of a field that are not empty."""
        for raw in self.raw(field).split(self.separators.repetition):
            if raw:
                yield Field(raw, self, field)

    def first(self, field: int) -> Field:
        """Return the first repetition of a field, empty if there is none."""
        return next(self.repetitions(field), Field("", self, field))

    def text(self, field: int, component: int = 1) -> str:
        """Return a component of the first repetition of a field."""
        return self.first(field).text(component)

    def wrong(self, condition: int, message: str, field: int = 0) -> UnacceptableMessage:
        """Return the error that says what is wrong with this segment, or with one of its fields."""
        return UnacceptableMessage(condition, message, self.name, field, self.occurrence)


@dataclass(frozen=True, slots=True)
class Field:
    """One repetition of a field."""

    raw: str
    segment: Segment
    number: int

    def text(self, component: int = 1, subcomponent: int = 1) -> str:
        """Return the text of a component, or of a part of it; empty if it is, or if it is null.

        Raises
        ------
        UnacceptableMessage
            If an escape sequence in it cannot be text.
        """
        marks = self.segment.separators
        part = _part(_part(self.raw, marks.component, component), marks.subcomponent, subcomponent)
        return "" if part == NULL else unescaped(part, self.segment, self.number).strip()

    def wrong(self, condition: int, message: str) -> UnacceptableMessage:
        """Return the error that says what is wrong with this field."""
        return self.segment.wrong(condition, message, self.number)


def _part(text: str, separator: str, number: int) -> str:
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its segments in order, the header first."""

    segments: tuple[Segment, ...]

    @property
    def header(self) -> Segment:
        return self.segments[0]

    def every(self, name: str) -> Iterator[Segment]:
        """Yield the segments of a name."""
        return (segment for segment in self.segments if segment.name == name)

    def only(self, name: str) -> Segment:
        """Return the first segment of a name.

        Raises
        ------
        UnacceptableMessage
            If there is none.
        """
        found = next(self.every(name), None)
        if found is None:
            raise UnacceptableMessage(100, f"there is no {name} segment", name)
        return found


def read_message(data: bytes, default_charset: str = DEFAULT) -> Message:
    """Read a message.

    Segments end with CR. A message without any CR is read as if LF stood for it: files that
    were edited by hand have these, and no message holds an LF of its own.

    Raises
    ------
    UnacceptableMessage
        If it is none, or not one alone, or its bytes are not of the character set that it names.
    """
    # Japanese systems leave the first one empty, which is ASCII, and name those that escape sequences lead to.
    first, *others = header_field(data, 18).decode("latin_1").split("~")
    named = first or (others[-1] if others else "")
    text = decode(data.removeprefix(_BYTE_ORDER_MARK), named or default_charset)
    lines = [line.strip("\n") for line in text.split("\r" if "\r" in text else "\n")]
    lines = [line for line in lines if line.strip()]
    if not lines or not lines[0].startswith(_HEADER):
        is_batch = bool(lines) and lines[0][:3] in _ENVELOPES
        what = "a batch: send its messages one by one" if is_batch else "no message: it does not begin with MSH"
        raise UnacceptableMessage(100, f"this is {what}", lines[0][:3] if is_batch else _HEADER)
    if len(lines) > MAX_SEGMENTS:
        raise UnacceptableMessage(102, f"a message has at most {MAX_SEGMENTS} segments here")
    return Message(tuple(_segments(lines, Separators.read(lines[0]))))


def _segments(lines: Iterable[str], separators: Separators) -> Iterator[Segment]:
    occurrences: dict[str, Iterator[int]] = {}
    for line in lines:
        name, *fields = line.split(separators.field)
        if not _SEGMENT_NAME.fullmatch(name):
            raise UnacceptableMessage(100, "a line is no segment: it does not begin with a name of three letters")
        if name == _HEADER:
            if occurrences:
                raise UnacceptableMessage(100, "a second message stands in the same frame", name, 0, 2)
            fields = [separators.field, *fields]
        occurrence = next(occurrences.setdefault(name, count(1)))
        yield Segment(name, occurrence, (name, *fields), separators)


def header_field(data: bytes, number: int) -> bytes:
    """Return a field of the header as it is written, before it is known how to read it; empty if there is none."""
    data = data.removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n")
    line = re.split(rb"[\r\n]", data, maxsplit=1)[0]
    if not line.startswith(_HEADER.encode()) or len(line) < 4:
        return b""
    fields = line.split(line[3:4], number)
    return fields[number - 1] if number <= len(fields) else b""


def unescaped(text: str, segment: Segment, field: int) -> str:
    r"""Return a text with its escape sequences replaced (HL7 2.5.1 section 2.7).

    Formatting is dropped; what begins or is no sequence of the standard is left as it is.

    Raises
    ------
    UnacceptableMessage
        If a sequence changes the character set, or its hexadecimal digits are none.
    """
    marks = segment.separators
    meant = {
        **dict(zip("FSTRE", (marks.field, marks.component, marks.subcomponent, marks.repetition, marks.escape),
                   strict=True)),
        ".br": "\n",
        ".sp": "\n",
    }  # fmt: skip

    def plain(found: re.Match[str]) -> str:
        sequence = found[1]
        if sequence in meant:
            return meant[sequence]
        if _HEX.fullmatch(sequence):
            # Bytes of no stated character set: only those of ASCII mean one character.
            return bytes.fromhex(sequence[1:]).decode("ascii", "replace")
        if sequence[:1] in ("C", "M", "X"):
            raise segment.wrong(102, f"an escape sequence of {sequence[0]} is not read: name the set in MSH-18", field)
        return "" if _FORMATTING.fullmatch(sequence) else found[0]

    mark = re.escape(marks.escape)
    return re.sub(f"{mark}([^{mark}]*){mark}", plain, text) if marks.escape in text else text


def written(segments: Iterable[tuple[str, Sequence[Written]]]) -> str:
    """Return a message as it is sent, with the usual separators.

    Parameters
    ----------
    segments
        A name and its fields from the first on, each a text, or its components; of MSH those from MSH-3 on.
    """
    return "".join(_line(name, fields) + "\r" for name, fields in segments)


def _line(name: str, fields: Sequence[Written]) -> str:
    texts = ["^".join(map(_escaped, [field] if isinstance(field, str) else field)) for field in fields]
    return "|".join([f"{name}|^~\\&" if name == _HEADER else name, *texts]).rstrip("|")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) if c.isprintable() else " " for c in text)
