"""A correction as somebody asks for it: what it selects, and what is to become of that.

::

    {"action": "attributes", "reason", "select": SELECTION, "set": {"PatientName": "Doe^Jane"}, "remove": [NAME]}
    {"action": "merge",  "reason", "from": PATIENT, "into": PATIENT}
    {"action": "move",   "reason", "select": SELECTION, "to": {"study": UID, "patient": PATIENT}, "set", "remove"}
    {"action": "delete", "reason", "select": SELECTION}
    {"action": "revert", "reason", "instance": UID, "version": 1}
    {"action": "apart",  "reason", "patient": PATIENT}

    SELECTION  {"patient": PATIENT} or {"study": UID, "series": UIDs | absent, "instances": UIDs | absent}
    PATIENT    {"id": "…", "issuer": "…" | absent, "attributes": {"PatientName": …} | absent}

Members of "to" may be absent, and so may "set" and "remove" of a move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from nearframe.dicom.attributeedit import AttributeEdit, read_edit
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import MalformedRequest

MAX_REASON_CHARS: Final = 1000
_MAX_UID_CHARS: Final = 64
_MAX_UIDS: Final = 10_000
_MAX_ID_CHARS: Final = 64  # VR LO


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient: an identifier, and who issued it.

    Attributes
    ----------
    issuer
        Empty for identifiers of which no issuer is named; None where the identifier alone says who it is.
    attributes
        What the patient is to be called, where that is not to be taken from studies that are here.
    """

    id: str
    issuer: str | None = None
    attributes: AttributeEdit | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a correction is about: every study of a patient, or a study, or some of its series or instances."""

    patient: Patient | None = None
    study: str = ""
    series: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Attributes:
    """Correct attributes."""

    select: Selection
    edit: AttributeEdit


@dataclass(frozen=True, slots=True)
class Merge:
    """File every study of a patient under another one."""

    source: Patient
    into: Patient


@dataclass(frozen=True, slots=True)
class Move:
    """File a study, or part of it, elsewhere.

    Attributes
    ----------
    study
        Another study, here already or not; empty for a new one, or the same where only the patient is another.
    """

    select: Selection
    study: str = ""
    patient: Patient | None = None
    edit: AttributeEdit = field(default_factory=AttributeEdit)


@dataclass(frozen=True, slots=True)
class Delete:
    """Take out of view."""

    select: Selection


@dataclass(frozen=True, slots=True)
class Expire:
    """Take out of view what was kept long enough: stored again, it is shown again."""

    select: Selection


@dataclass(frozen=True, slots=True)
class Revert:
    """Make an earlier version of an instance current again."""

    instance: str
    version: int


@dataclass(frozen=True, slots=True)
class KeepApart:
    """Say that an identifier which was merged away is in use again: what comes under it is where it belongs."""

    patient: Patient


What: TypeAlias = Attributes | Merge | Move | Delete | Expire | Revert | KeepApart


@dataclass(frozen=True, slots=True)
class Asked:
    """A correction that is asked for.

    Attributes
    ----------
    detail
        It once more, as its record keeps it.
    """

    action: str
    reason: str
    what: What
    detail: DICOMJSON


def read_asked(document: Any) -> Asked:
    """Read what is asked for.

    Raises
    ------
    MalformedRequest
        If it is not one of the forms above.
    """
    if not isinstance(document, Mapping):
        raise MalformedRequest("a correction is a JSON object")
    action = document.get("action")
    form = _FORMS.get(action) if isinstance(action, str) else None
    if form is None:
        raise MalformedRequest(f"action is one of {', '.join(_FORMS)}")
    read, members = form
    if unknown := sorted(document.keys() - members - {"action", "reason"}):
        raise MalformedRequest(f"a correction of this action has no {_shown(unknown[0])}; it has {', '.join(members)}")
    what = read(document)
    detail = {name: document[name] for name in members if name in document}
    return Asked(str(action), read_reason(document), what, detail)


def read_reason(document: Mapping[str, Any]) -> str:
    """Return why: who corrects an archive says so."""
    reason = document.get("reason")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > MAX_REASON_CHARS:
        raise MalformedRequest(f"say why, in a reason of 1 to {MAX_REASON_CHARS} characters")
    return reason.strip()


def _attributes(document: Mapping[str, Any]) -> Attributes:
    edit = _edit(document)
    if not edit:
        raise MalformedRequest("name attributes to set or to remove")
    return Attributes(_selection(document), edit)


def _merge(document: Mapping[str, Any]) -> Merge:
    source, into = read_patient(document, "from"), read_patient(document, "into")
    if (source.id, source.issuer) == (into.id, into.issuer):
        raise MalformedRequest("a patient is merged into another one")
    return Merge(source, into)


def _move(document: Mapping[str, Any]) -> Move:
    to = document.get("to", {})
    if not isinstance(to, Mapping) or to.keys() - {"study", "patient"}:
        raise MalformedRequest('to is {"study": UID} for a study here or a new one, {"patient": …}, or {}')
    select = _selection(document)
    if select.patient is not None:
        raise MalformedRequest("a study or part of one is moved; a whole patient is merged")
    study = read_uid(to, "study") if "study" in to else ""
    if study and study == select.study:
        raise MalformedRequest("a study is moved into another one")
    return Move(select, study, read_patient(to, "patient") if "patient" in to else None, _edit(document))


def _delete(document: Mapping[str, Any]) -> Delete:
    return Delete(_selection(document))


def _revert(document: Mapping[str, Any]) -> Revert:
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise MalformedRequest("version is the number of a stored version")
    return Revert(read_uid(document, "instance"), version)


def _apart(document: Mapping[str, Any]) -> KeepApart:
    return KeepApart(read_patient(document, "patient"))


_FORMS: Final[dict[str, tuple[Any, tuple[str, ...]]]] = {
    "attributes": (_attributes, ("select", "set", "remove")),
    "merge": (_merge, ("from", "into")),
    "move": (_move, ("select", "to", "set", "remove")),
    "delete": (_delete, ("select",)),
    "revert": (_revert, ("instance", "version")),
    "apart": (_apart, ("patient",)),
}


def _edit(document: Mapping[str, Any]) -> AttributeEdit:
    wanted, unwanted = document.get("set", {}), document.get("remove", [])
    if not isinstance(wanted, Mapping):
        raise MalformedRequest("set is an object: attributes and their values")
    if not isinstance(unwanted, list) or not all(isinstance(name, str) for name in unwanted):
        raise MalformedRequest("remove is a list of attributes")
    return read_edit(wanted, unwanted)


def _selection(document: Mapping[str, Any]) -> Selection:
    found = document.get("select")
    if not isinstance(found, Mapping) or found.keys() - {"patient", "study", "series", "instances"}:
        raise MalformedRequest('select is {"patient": …}, or {"study": UID} with series or instances')
    if "patient" in found:
        if len(found) > 1:
            raise MalformedRequest("select a patient, or a study: not both")
        return Selection(patient=read_patient(found, "patient"))
    return Selection(None, read_uid(found, "study"), _uids(found, "series"), _uids(found, "instances"))


def read_patient(document: Mapping[str, Any], name: str) -> Patient:
    """Return the patient that a member of a document is; raises `MalformedRequest`."""
    found = document.get(name)
    if not isinstance(found, Mapping) or found.keys() - {"id", "issuer", "attributes"}:
        raise MalformedRequest(f'{name} is a patient: {{"id", "issuer", "attributes"}}')
    identifier, issuer = found.get("id"), found.get("issuer")
    if not isinstance(identifier, str) or not 0 < len(identifier.strip()) <= _MAX_ID_CHARS:
        raise MalformedRequest(f"the id of a patient has 1 to {_MAX_ID_CHARS} characters")
    if issuer is not None and (not isinstance(issuer, str) or len(issuer) > _MAX_ID_CHARS):
        raise MalformedRequest(f"the issuer of a Patient ID has at most {_MAX_ID_CHARS} characters")
    attributes = found.get("attributes")
    if attributes is not None and not isinstance(attributes, Mapping):
        raise MalformedRequest("the attributes of a patient are an object")
    edit = None if attributes is None else read_edit(attributes)
    return Patient(identifier.strip(), None if issuer is None else issuer.strip(), edit)


def _uids(document: Mapping[str, Any], name: str) -> frozenset[str]:
    if name not in document:
        return frozenset()
    found = document[name]
    uids = [found] if isinstance(found, str) else found
    if not isinstance(uids, list) or not 0 < len(uids) <= _MAX_UIDS:
        raise MalformedRequest(f"{name} is a list of 1 to {_MAX_UIDS} UIDs")
    return frozenset(read_uid({name: uid}, name) for uid in uids)


def read_uid(document: Mapping[str, Any], name: str) -> str:
    """Return the UID that a member of a document is; raises `MalformedRequest`."""
    uid = document.get(name)
    if not isinstance(uid, str) or not 0 < len(uid.strip()) <= _MAX_UID_CHARS or not uid.isprintable():
        raise MalformedRequest(f"{name} is named by its UID, of at most {_MAX_UID_CHARS} characters")
    return uid.strip()


def _shown(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "?" for c in name[:_MAX_UID_CHARS])
