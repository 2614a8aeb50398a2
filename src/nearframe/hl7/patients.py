"""Who a message is about: identifiers and demographics of PID and MRG, as DICOM has them (IHE RAD TF-2, Appendix D)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from nearframe.errors import UnacceptableMessage
from nearframe.hl7.er7 import Field, Message, Segment
from nearframe.hl7.known import Authorities

_PRIOR_IDENTIFIERS: Final = 1  # MRG-1
_IDENTIFIERS: Final = 3  # PID-3
_NAME: Final = 5
_BIRTH_DATE: Final = 7
_SEX: Final = 8

_MAX_ID_CHARS: Final = 64  # VR LO
_MAX_NAME_CHARS: Final = 64  # of each of the three forms of a name (VR PN)
#: HL7 table 0001 -> Patient's Sex (PS3.3 C.7.1.1). Unknown says nothing: it takes no known sex away.
_SEXES: Final = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O", "U": None}
#: XPN.8 -> form of a name; alphabetic where it is not said.
_FORMS: Final = {"": "Alphabetic", "A": "Alphabetic", "I": "Ideographic", "P": "Phonetic"}
#: A legal name goes before others (XPN.7), and a message may give one type for each form.
_TYPES: Final = ("L", "", "D", "N", "C")

#: By keyword; a name by its forms, everything else as text, empty where the message says that there is none.
Demographics: TypeAlias = Mapping[str, str | Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier of a list (CX).

    Attributes
    ----------
    issuers
        What its authority is called in images, the usual one first.
    kind
        Such as ``MR`` or ``PI``; empty where it is not said.
    place
        Where it stands.
    """

    id: str
    issuers: tuple[str, ...]
    kind: str
    place: Field

    def is_of_authority(self, other: Identifier) -> bool:
        return not set(self.issuers).isdisjoint(other.issuers)


@dataclass(frozen=True, slots=True)
class Replacement:
    """An identifier that is given up for another one of the same authority.

    Attributes
    ----------
    by
        None if the message names none of that authority, or several.
    pid
        The segment of whom it is given up for.
    """

    prior: Identifier
    by: Identifier | None
    pid: Segment


def identifiers_of(segment: Segment, authorities: Authorities) -> list[Identifier]:
    """Return the identifiers of a PID or MRG segment.

    Raises
    ------
    UnacceptableMessage
        If there is none, or one that no image can have.
    """
    number = _IDENTIFIERS if segment.name == "PID" else _PRIOR_IDENTIFIERS
    found = [
        Identifier(text, authorities.issuers_of(field), field.text(5).upper(), field)
        for field in segment.repetitions(number)
        if (text := _identifier(field))
    ]
    if not found:
        raise segment.wrong(101, "there is no identifier of the patient", number)
    return found


def _identifier(field: Field) -> str:
    text = field.text(1)
    if len(text) > _MAX_ID_CHARS or not text.isprintable() or "\\" in text:
        raise field.wrong(102, f"no Patient ID of DICOM: at most {_MAX_ID_CHARS} characters, without backslash")
    return text


def demographics_of(pid: Segment) -> Demographics:
    """Return what a PID segment says of who somebody is; what it does not say is left out.

    Raises
    ------
    UnacceptableMessage
        If a value cannot be one of DICOM.
    """
    found: dict[str, str | Mapping[str, str]] = {}
    if names := _names(pid):
        found["PatientName"] = names
    for keyword, number, read in (("PatientBirthDate", _BIRTH_DATE, _birth_date), ("PatientSex", _SEX, _sex)):
        value = "" if pid.is_null(number) else read(pid.first(number))
        if value is not None:
            found[keyword] = value
    return found


def as_attributes(demographics: Demographics) -> dict[str, Any]:
    """Return demographics in the form in which attributes are asked for (`dicom.attributeedit`)."""
    return {keyword: [dict(value)] if isinstance(value, Mapping) else value for keyword, value in demographics.items()}


def _names(pid: Segment) -> dict[str, str]:
    found: dict[str, tuple[int, str]] = {}
    for field in pid.repetitions(_NAME):
        form, kind = _FORMS.get(field.text(8).upper()), field.text(7).upper()
        name = _name(field, [field.text(number) for number in range(1, 7)])
        if not name or form is None or kind not in _TYPES:
            continue
        rank = _TYPES.index(kind)
        if form not in found or rank < found[form][0]:
            found[form] = rank, name
    return {form: name for form, (_, name) in found.items()}


def name_of(field: Field, within: int = 0) -> str:
    """Return the name of a physician (XCN, or CNN within a component): the first part is an identifier.

    Raises
    ------
    UnacceptableMessage
        If it cannot be a name of DICOM.
    """
    return _name(field, [field.text(within, number) if within else field.text(number) for number in range(2, 8)])


def _name(field: Field, parts: Sequence[str]) -> str:
    """Return family, given, middle, suffix, prefix and degree (XPN) as PN has them (PS3.5 section 6.2.1.1)."""
    family, given, middle, suffix, prefix, degree = parts
    parts = [family, given, middle, prefix, " ".join(filter(None, (suffix, degree)))]
    if any(mark in part for part in parts for mark in "^=\\") or not all(map(str.isprintable, parts)):
        raise field.wrong(102, "a name with a character that DICOM has no place for: ^, = or a backslash")
    name = "^".join(parts).rstrip("^ ")
    if len(name) > _MAX_NAME_CHARS:
        raise field.wrong(102, f"a name of more than {_MAX_NAME_CHARS} characters")
    return name


def _birth_date(field: Field) -> str | None:
    """Return a date of birth; None if it is not known to the day, which DICOM cannot say."""
    text = field.text()
    if not text:
        return None
    if not (text[:8].isascii() and text[:8].isdigit()):
        raise field.wrong(102, "no date: YYYYMMDD")
    return text[:8] if len(text) >= 8 else None


def _sex(field: Field) -> str | None:
    text = field.text().upper()
    if not text:
        return None
    if text not in _SEXES:
        raise field.wrong(103, f"no administrative sex of HL7 table 0001: {', '.join(_SEXES)}")
    return _SEXES[text]


def replacements_of(message: Message, authorities: Authorities) -> list[Replacement]:
    """Return what a merge, or a change of identifiers, gives up for what: of every pair of PID and MRG.

    Raises
    ------
    UnacceptableMessage
        If there is no such pair, or an identifier is given up for itself.
    """
    found: list[Replacement] = []
    for pid, mrg in _pairs(message):
        kept = identifiers_of(pid, authorities)
        given_up = [prior for prior in identifiers_of(mrg, authorities) if not _is_among(prior, kept)]
        if not given_up:
            raise mrg.wrong(205, "the patient would be merged into itself", _PRIOR_IDENTIFIERS)
        found += [Replacement(prior, _of_same_authority(prior, kept), pid) for prior in given_up]
    return found


def _pairs(message: Message) -> Iterator[tuple[Segment, Segment]]:
    pid: Segment | None = None
    merged = True
    for segment in message.segments:
        if segment.name == "PID":
            if not merged and pid is not None:
                raise pid.wrong(100, "no MRG segment follows it")
            pid, merged = segment, False
        elif segment.name == "MRG":
            if pid is None:
                raise segment.wrong(100, "no PID segment stands before it")
            merged = True
            yield pid, segment
    if pid is None or not merged:
        missing = "PID" if pid is None else "MRG"
        raise UnacceptableMessage(100, f"there is no {missing} segment", missing)


def _is_among(prior: Identifier, kept: list[Identifier]) -> bool:
    return any(prior.id == one.id and prior.is_of_authority(one) for one in kept)


def _of_same_authority(prior: Identifier, kept: list[Identifier]) -> Identifier | None:
    same = [one for one in kept if prior.is_of_authority(one)]
    if len(same) > 1:
        same = [one for one in same if one.kind == prior.kind]
    return same[0] if len(same) == 1 else None
