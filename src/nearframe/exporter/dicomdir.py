"""A DICOMDIR: the Basic Directory of a medium (PS3.10 section 8, PS3.3 Annex F).

A directory has to name what an object may leave empty, so that a reader can list it: dates,
IDs and numbers that are missing get a dummy there, and there alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from nearframe.dicom.attributes import keys
from nearframe.dicom.build import build_data_set
from nearframe.dicom.element import ITEM
from nearframe.dicom.elementbytes import delimiter, element_bytes, element_header
from nearframe.dicom.filemeta import file_meta
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian
from nearframe.ids import sha256

_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."

_FILE_SET_ID, _FIRST_ROOT, _LAST_ROOT = 0x00041130, 0x00041200, 0x00041202
_CONSISTENCY, _RECORDS = 0x00041212, 0x00041220
_NEXT, _IN_USE, _LOWER, _TYPE = "00041400", "00041410", "00041420", "00041430"
_FILE_ID, _CLASS_IN_FILE, _INSTANCE_IN_FILE, _SYNTAX_IN_FILE = "00041500", "00041510", "00041511", "00041512"

_IN_USE_VALUE: Final = 0xFFFF

#: Record type to what of SOP Class UIDs of storage follows the common root (PS3.3 Table F.4-1); others are images.
_CLASSES: Final = {
    "SR DOCUMENT": ("88.",),
    "KEY OBJECT DOC": ("88.59",),
    "PRESENTATION": ("11.",),
    "WAVEFORM": ("9.",),
    "ENCAP DOC": ("104.",),
    "RT DOSE": ("481.2",),
    "RT STRUCTURE SET": ("481.3",),
    "RT PLAN": ("481.5", "481.8"),
    "RT TREAT RECORD": ("481.4", "481.6", "481.7", "481.9"),
    "RAW DATA": ("66",),
    "REGISTRATION": ("66.1", "66.3"),
    "FIDUCIAL": ("66.2",),
    "SPECTROSCOPY": ("4.2",),
    "VALUE MAP": ("67",),
    "SURFACE": ("66.5",),
}

#: What a record has of the object's attributes (PS3.3 sections F.5.1 to F.5.47).
_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "PATIENT": ("PatientName", "PatientID"),
    "STUDY": ("StudyDate", "StudyTime", "StudyDescription", "StudyInstanceUID", "StudyID", "AccessionNumber"),
    "SERIES": ("Modality", "SeriesInstanceUID", "SeriesNumber"),
    "IMAGE": ("InstanceNumber",),
    "SR DOCUMENT": (
        *("InstanceNumber", "CompletionFlag", "VerificationFlag", "ContentDate", "ContentTime"),
        *("VerificationDateTime", "ConceptNameCodeSequence"),
    ),
    "KEY OBJECT DOC": ("InstanceNumber", "ContentDate", "ContentTime", "ConceptNameCodeSequence"),
    "PRESENTATION": (
        *("InstanceNumber", "PresentationCreationDate", "PresentationCreationTime", "ContentLabel"),
        *("ContentDescription", "ContentCreatorName", "ReferencedSeriesSequence"),
    ),
    "WAVEFORM": ("InstanceNumber", "ContentDate", "ContentTime"),
    "ENCAP DOC": (
        *("ContentDate", "ContentTime", "InstanceNumber", "DocumentTitle", "ConceptNameCodeSequence"),
        "MIMETypeOfEncapsulatedDocument",
    ),
    "RT DOSE": ("InstanceNumber", "DoseSummationType"),
    "RT STRUCTURE SET": ("InstanceNumber", "StructureSetLabel", "StructureSetDate", "StructureSetTime"),
    "RT PLAN": ("InstanceNumber", "RTPlanLabel", "RTPlanDate", "RTPlanTime"),
    "RT TREAT RECORD": ("InstanceNumber", "TreatmentDate", "TreatmentTime"),
    "RAW DATA": ("ContentDate", "ContentTime", "InstanceNumber"),
    "REGISTRATION": ("ContentDate", "ContentTime", "InstanceNumber", "ContentLabel", "ContentDescription"),
    "FIDUCIAL": ("ContentDate", "ContentTime", "InstanceNumber", "ContentLabel", "ContentDescription"),
    "SPECTROSCOPY": (
        *("ImageType", "ContentDate", "ContentTime", "InstanceNumber", "ReferencedImageEvidenceSequence"),
        *("NumberOfFrames", "Rows", "Columns", "DataPointRows", "DataPointColumns"),
    ),
    "VALUE MAP": ("ContentDate", "ContentTime", "InstanceNumber", "ContentLabel", "ContentDescription"),
    "SURFACE": ("ContentDate", "ContentTime", "InstanceNumber", "ContentLabel", "ContentDescription"),
}
#: What stands for those it must have.
_DUMMIES: Final[dict[str, tuple[str, Any]]] = {
    "PatientID": ("LO", "UNKNOWN"),
    "StudyDate": ("DA", "19000101"),
    "StudyTime": ("TM", "000000"),
    "StudyID": ("SH", "UNKNOWN"),
    "Modality": ("CS", "OT"),
    "SeriesNumber": ("IS", 0),
    "InstanceNumber": ("IS", 0),
    "ContentDate": ("DA", "19000101"),
    "ContentTime": ("TM", "000000"),
    "PresentationCreationDate": ("DA", "19000101"),
    "PresentationCreationTime": ("TM", "000000"),
    "ContentLabel": ("CS", "UNKNOWN"),
    "CompletionFlag": ("CS", "PARTIAL"),
    "VerificationFlag": ("CS", "UNVERIFIED"),
    "DoseSummationType": ("CS", "PLAN"),
    "StructureSetLabel": ("SH", "UNKNOWN"),
    "RTPlanLabel": ("SH", "UNKNOWN"),
    "MIMETypeOfEncapsulatedDocument": ("LO", "application/octet-stream"),
}
#: Type 2: there, if only empty.
_EMPTY: Final = {
    "PatientName": "PN",
    "StudyDescription": "LO",
    "AccessionNumber": "SH",
    "ContentDescription": "LO",
    "ContentCreatorName": "PN",
    "DocumentTitle": "ST",
    "StructureSetDate": "DA",
    "StructureSetTime": "TM",
    "RTPlanDate": "DA",
    "RTPlanTime": "TM",
    "TreatmentDate": "DA",
    "TreatmentTime": "TM",
}


@dataclass(slots=True)
class _Record:
    """A directory record, and those below it."""

    own: DICOMJSON
    children: dict[str, _Record] = field(default_factory=dict)
    offset: int = 0

    def below(self, key: str, record: DICOMJSON) -> _Record:
        return self.children.setdefault(key, _Record(record))

    def bytes(self, following: int) -> bytes:
        first = next(iter(self.children.values()), None)
        links = {
            _NEXT: _one("UL", following),
            _IN_USE: _one("US", _IN_USE_VALUE),
            _LOWER: _one("UL", 0 if first is None else first.offset),
        }
        data = build_data_set(self.own | links, implicit_vr=False)
        return delimiter(ITEM, len(data)) + data


class Directory:
    """The directory of a medium, to which files are added one by one."""

    def __init__(self) -> None:
        self._root = _Record({})

    def add(self, file_id: str, metadata: DICOMJSON, transfer_syntax_uid: str) -> None:
        """Add a file.

        Parameters
        ----------
        file_id
            Its name from the medium's root, components separated by slashes.
        metadata
            Of the instance in it.
        """
        patient = self._root.below(patient_of(metadata), _described("PATIENT", metadata))
        study = patient.below(_first(metadata, "StudyInstanceUID"), _described("STUDY", metadata))
        series = study.below(_first(metadata, "SeriesInstanceUID"), _described("SERIES", metadata))
        sop_class_uid = _first(metadata, "SOPClassUID")
        leaf = _described(_record_type(sop_class_uid), metadata) | {
            _FILE_ID: {"vr": "CS", "Value": file_id.split("/")},
            _CLASS_IN_FILE: _one("UI", sop_class_uid),
            _INSTANCE_IN_FILE: _one("UI", _first(metadata, "SOPInstanceUID")),
            _SYNTAX_IN_FILE: _one("UI", transfer_syntax_uid),
        }
        series.below(file_id, leaf)

    def file(self) -> bytes:
        """Return the DICOMDIR."""
        records = _in_order(self._root.children.values())
        names = "".join("".join(record.own.get(_FILE_ID, {}).get("Value", ())) for record in records)
        instance_uid = f"2.25.{int.from_bytes(sha256(names.encode())[:16], 'big')}"
        meta = file_meta(_MEDIA_STORAGE_DIRECTORY, instance_uid, ExplicitVRLittleEndian)
        at = len(meta) + len(self._head(0))
        for record in records:
            record.offset = at
            at += len(record.bytes(0))
        items = b"".join(record.bytes(following) for record, following in _with_next(self._root))
        return meta + self._head(len(items)) + items

    def _head(self, items_bytes: int) -> bytes:
        roots = [record.offset for record in self._root.children.values()] or [0]
        return (
            element_bytes(_FILE_SET_ID, "CS", b"")
            + element_bytes(_FIRST_ROOT, "UL", roots[0].to_bytes(4, "little"))
            + element_bytes(_LAST_ROOT, "UL", roots[-1].to_bytes(4, "little"))
            + element_bytes(_CONSISTENCY, "US", bytes(2))
            + element_header(_RECORDS, "SQ", items_bytes)
        )


def patient_of(metadata: DICOMJSON) -> str:
    """Return what tells a patient from others: ID and who gave it, or the name, or else the study."""
    identity = "\0".join(_first(metadata, keyword) for keyword in ("PatientID", "IssuerOfPatientID"))
    return (
        identity
        if identity != "\0"
        else str(metadata.get(keys("PatientName")[0], {}).get("Value", "")) or _first(metadata, "StudyInstanceUID")
    )


def _in_order(records: Iterable[_Record]) -> list[_Record]:
    return [one for record in records for one in (record, *_in_order(record.children.values()))]


def _with_next(parent: _Record) -> list[tuple[_Record, int]]:
    """Return the records below one in the order of the file, each with the offset of the next beside it."""
    beside = list(parent.children.values())
    offsets = [*(record.offset for record in beside[1:]), 0]
    return [
        pair
        for record, following in zip(beside, offsets, strict=False)
        for pair in ((record, following), *_with_next(record))
    ]


def _described(record_type: str, metadata: DICOMJSON) -> DICOMJSON:
    record: DICOMJSON = {_TYPE: _one("CS", record_type)}
    for keyword in _KEYS[record_type]:
        (key,) = keys(keyword)
        attribute = metadata.get(key) or _of_last_item(metadata, keyword)
        if "Value" in attribute:
            record[key] = attribute
        elif keyword in _DUMMIES:
            record[key] = _one(*_DUMMIES[keyword])
        elif keyword in _EMPTY:
            record[key] = {"vr": _EMPTY[keyword]}
    return record


def _of_last_item(metadata: DICOMJSON, keyword: str) -> DICOMJSON:
    """Return an attribute that an object has in a sequence, and its record at the top: when it was verified last."""
    if keyword != "VerificationDateTime":
        return {}
    items = metadata.get(keys("VerifyingObserverSequence")[0], {}).get("Value") or [{}]
    found: DICOMJSON = (items[-1] or {}).get(keys(keyword)[0], {})
    return found


def _record_type(sop_class_uid: str) -> str:
    suffix = sop_class_uid.removeprefix(_STORAGE)
    # The longest fits best: a key object is a structured report, too.
    fitting = [
        (len(prefix), record_type)
        for record_type, prefixes in _CLASSES.items()
        for prefix in prefixes
        if suffix == prefix or (prefix.endswith(".") and suffix.startswith(prefix))
    ]
    return max(fitting)[1] if fitting else "IMAGE"


def _first(metadata: DICOMJSON, keyword: str) -> str:
    values = metadata.get(keys(keyword)[0], {}).get("Value") or [""]
    return str(values[0] or "")


def _one(vr: str, value: Any) -> DICOMJSON:
    return {"vr": vr, "Value": [value]}
