"""What a correction comes to: which versions it is about, and what is edited in each."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from nearframe.context import Context
from nearframe.corrections.asked import (
    Attributes,
    Delete,
    Expire,
    KeepApart,
    Merge,
    Move,
    Patient,
    Revert,
    Selection,
    What,
)
from nearframe.dicom.attributeedit import AttributeEdit
from nearframe.dicom.attributes import keys
from nearframe.dicom.describe import derived_uid
from nearframe.dicom.dicomjson import SPECIFIC_CHARACTER_SET
from nearframe.dicom.jsonitems import text_at
from nearframe.dicom.levels import COMPUTED, Level, level_of
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import AccessError, Conflict, LimitExceeded, NotFound
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import Catalogue, InstanceRecord, MergedIdentity, PatientIdentity, StudyRef

#: Instances of one correction: it is one transaction, for which whoever takes in waits some 0.8 ms an instance.
MAX_INSTANCES: Final = 20_000

_PATIENT_ID: Final = "00100020"
_ISSUER: Final = "00100021"
#: Who somebody is (PS3.3 C.7.1.1), as opposed to how they were at the time of a study.
_IDENTITY: Final = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID"),
    *("PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientIDsSequence"),
    "OtherPatientNames",
)
#: Of the study's level and yet not taken from another study: what files an object, and what its text is written in.
_KEPT: Final = frozenset({"0020000D", f"{SPECIFIC_CHARACTER_SET:08X}", *COMPUTED})


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one version that is current.

    Attributes
    ----------
    becomes
        An edit of it; the number of a stored version; or None: it is taken out of view.
    may_return
        As of `Revision`.
    """

    record: InstanceRecord
    becomes: AttributeEdit | int | None
    may_return: bool = False

    @property
    def studies(self) -> set[StudyRef]:
        """The studies that it changes."""
        target = self.becomes.files_in if isinstance(self.becomes, AttributeEdit) else None
        study = self.record.study
        return {study} if target is None else {study, StudyRef(study.tenant, target)}


class Planner:
    """Finds out what a correction comes to, as things are now. Sync; changes nothing."""

    def __init__(self, catalogue: Catalogue, corrections: Corrections) -> None:
        self._catalogue = catalogue
        self._corrections = corrections

    def steps(self, ctx: Context, what: What) -> list[Step]:
        """Return the steps of a correction.

        Raises
        ------
        NotFound
            If nothing of what it names is here.
        Conflict
            If it does not say whose identifier is meant, or would mix two patients.
        LimitExceeded
            If it is about more instances than one transaction takes.
        AccessError
            If it is about something outside what the caller may reach.
        """
        match what:
            case Attributes():
                return self._attributes(ctx, what)
            case Merge():
                edit = self._identity_of(ctx, what.into)
                return [Step(record, edit) for record in self._of_patient(ctx, what.source)]
            case Move():
                return self._move(ctx, what)
            case Delete():
                return [Step(record, None) for record in self._selected(ctx, what.select)]
            case Expire():
                return [Step(record, None, may_return=True) for record in self._selected(ctx, what.select)]
            case Revert():
                record = self._catalogue.find_instance(ctx.tenant, what.instance)
                self._reach(ctx, record.study.study_instance_uid)
                return [Step(record, what.version)]
            case KeepApart():
                self.kept_apart(ctx, what)
                return []

    def kept_apart(self, ctx: Context, what: KeepApart) -> PatientIdentity:
        """Return which identifier is meant; raises `Conflict` and `AccessError` as `steps`."""
        identity = PatientIdentity(what.patient.id, issuer_of(self._corrections, ctx.tenant, what.patient))
        self._studies(ctx, identity.id, identity.issuer)
        return identity

    def merged(self, ctx: Context, what: What) -> MergedIdentity | None:
        """Return which identifier a correction gives up for which; raises `Conflict` as `steps`."""
        if not isinstance(what, Merge):
            return None
        prior, into = (
            PatientIdentity(one.id, issuer_of(self._corrections, ctx.tenant, one)) for one in (what.source, what.into)
        )
        return MergedIdentity(prior, into) if prior != into else None

    # -- what is selected ------------------------------------------------------------------

    def _selected(self, ctx: Context, select: Selection) -> list[InstanceRecord]:
        if select.patient is not None:
            return self._of_patient(ctx, select.patient)
        records = self._of_study(ctx, select.study)
        if select.series:
            records = _having(records, select.series, lambda record: record.identity.series_instance_uid, "series")
        if select.instances:
            records = _having(records, select.instances, lambda record: record.identity.sop_instance_uid, "instance")
        return records

    def _of_study(self, ctx: Context, study_instance_uid: str) -> list[InstanceRecord]:
        study = self._reach(ctx, study_instance_uid)
        self._catalogue.state(study)  # raises NotFound
        return _bounded(self._catalogue.list_instances(study))

    def _of_patient(self, ctx: Context, patient: Patient) -> list[InstanceRecord]:
        """Return the instances that name a patient; others of the same studies are left alone."""
        issuer = issuer_of(self._corrections, ctx.tenant, patient)
        found: list[InstanceRecord] = []
        for study in self._studies(ctx, patient.id, issuer):
            records = self._catalogue.list_instances(study)
            metadata = dict(self._metadata(study))
            found += [
                one for one in records if _names(metadata.get(one.identity.sop_instance_uid, {}), patient.id, issuer)
            ]
            _bounded(found)
        if not found:
            raise NotFound("patient")
        return found

    def _studies(self, ctx: Context, patient_id: str, issuer: str) -> list[StudyRef]:
        found = self._corrections.studies_of_patient(ctx.tenant, patient_id)
        return [self._reach(ctx, study.study_instance_uid) for study in found if study.issuer == issuer]

    def _reach(self, ctx: Context, study_instance_uid: str) -> StudyRef:
        if not ctx.scope.admits(study_instance_uid):
            raise AccessError("this study is outside what the session may reach")
        return StudyRef(ctx.tenant, study_instance_uid)

    def _metadata(self, study: StudyRef) -> Iterable[tuple[str, DICOMJSON]]:
        for identity, document in self._catalogue.metadata(study):
            yield identity.sop_instance_uid, json.loads(document)

    # -- what becomes of it ----------------------------------------------------------------

    def _attributes(self, ctx: Context, asked: Attributes) -> list[Step]:
        records = self._selected(ctx, asked.select)
        if _PATIENT_ID in asked.edit.set or _ISSUER in asked.edit.set:
            self._refuse_taken(ctx, records, asked.edit)
        return [Step(record, asked.edit) for record in records]

    def _refuse_taken(self, ctx: Context, records: Sequence[InstanceRecord], edit: AttributeEdit) -> None:
        """Refuse an identifier that is somebody's: that would be a merge, which takes the whole identity over."""
        corrected = {record.study for record in records}
        first = records[0]
        study = self._catalogue.metadata(first.study, None, first.identity.sop_instance_uid)
        document: DICOMJSON = json.loads(study[0][1]) | edit.set
        issuer = "" if _ISSUER in edit.remove else text_at(document, _ISSUER)
        taken = self._studies(ctx, text_at(document, _PATIENT_ID), issuer)
        if set(taken) - corrected:
            raise Conflict(
                "that Patient ID is in use by other studies: merge the patients, or move the study to that one"
            )

    def _identity_of(self, ctx: Context, patient: Patient) -> AttributeEdit:
        """Return the edit that makes an object this patient's."""
        issuer = issuer_of(self._corrections, ctx.tenant, patient)
        identifiers: DICOMJSON = {_PATIENT_ID: {"vr": "LO", "Value": [patient.id]}}
        if issuer:
            identifiers[_ISSUER] = {"vr": "LO", "Value": [issuer]}
        if patient.attributes is not None:
            given = patient.attributes.then(AttributeEdit(identifiers))
            return given if issuer else given.then(AttributeEdit({}, frozenset({_ISSUER})))
        studies = self._studies(ctx, patient.id, issuer)
        if not studies:
            raise NotFound("patient; say in attributes what the patient is to be called")
        document = next(
            (one for _, one in self._metadata(studies[-1]) if _names(one, patient.id, issuer)),
            identifiers,
        )
        return _taken_over(document, keys(*_IDENTITY), keys(*_IDENTITY))

    def _move(self, ctx: Context, asked: Move) -> list[Step]:
        records = self._selected(ctx, asked.select)
        whole = self._of_study(ctx, asked.select.study)
        edit = AttributeEdit()
        if asked.patient is not None:
            edit = self._identity_of(ctx, asked.patient)
        if asked.patient is not None and not asked.study and len(records) == len(whole):
            return [Step(record, edit.then(asked.edit)) for record in records]
        target = asked.study or f"2.25.{uuid.uuid4().int}"
        there = self._catalogue.list_instances(self._reach(ctx, target))
        if there and asked.patient is not None:
            raise Conflict("a study that is here has its patient: name the study, or the patient")
        if there:
            edit = self._study_of(whole[0].study, there[0])
        in_all, moved = _per_series(whole), _per_series(records)
        split = {series for series, count in moved.items() if count < in_all[series]}
        return [
            Step(record, edit.then(asked.edit).filed(target, _series_in(target, record, split))) for record in records
        ]

    def _study_of(self, source: StudyRef, there: InstanceRecord) -> AttributeEdit:
        """Return the edit that makes an object one of another study: its patient and study attributes, no others."""
        found = self._catalogue.metadata(there.study, None, there.identity.sop_instance_uid)
        document: DICOMJSON = json.loads(found[0][1])
        own = {tag for _, one in self._metadata(source) for tag in one if _is_study_level(tag)}
        return _taken_over(document, [tag for tag in document if _is_study_level(tag)], own)


def issuer_of(corrections: Corrections, tenant: str, patient: Patient) -> str:
    """Return who issued a patient's identifier, as it was said or as the studies have it.

    Raises
    ------
    Conflict
        If it was not said, and several issuers use the identifier.
    """
    if patient.issuer is not None:
        return patient.issuer
    issuers = {study.issuer for study in corrections.studies_of_patient(tenant, patient.id)}
    if len(issuers) > 1:
        raise Conflict(f"that Patient ID is in use by {len(issuers)} issuers, for as many patients: name the issuer")
    return next(iter(issuers), "")


def _is_study_level(tag: str) -> bool:
    return tag not in _KEPT and level_of(tag) is Level.STUDY


def _taken_over(document: DICOMJSON, tags: Iterable[str], own: Iterable[str]) -> AttributeEdit:
    """Return the edit that sets `tags` as a document has them, and removes those of `own` that it lacks."""
    taken = {tag: document[tag] for tag in tags if tag in document and "BulkDataURI" not in document[tag]}
    return AttributeEdit(taken, frozenset(own) - taken.keys())


def _names(document: DICOMJSON, patient_id: str, issuer: str) -> bool:
    return text_at(document, _PATIENT_ID) == patient_id and text_at(document, _ISSUER) == issuer


def _per_series(records: Iterable[InstanceRecord]) -> Counter[str]:
    return Counter(record.identity.series_instance_uid for record in records)


def _series_in(target: str, record: InstanceRecord, split: set[str]) -> str | None:
    """Return the series of a moved instance, if it is another: a UID names one series, so a part gets its own."""
    series = record.identity.series_instance_uid
    return derived_uid("series", f"{series} in {target}") if series in split else None


def _having(
    records: list[InstanceRecord], wanted: frozenset[str], uid_of: Callable[[InstanceRecord], str], what: str
) -> list[InstanceRecord]:
    if not wanted <= {uid_of(record) for record in records}:
        raise NotFound(f"{what} in this study")
    return [record for record in records if uid_of(record) in wanted]


def _bounded(records: list[InstanceRecord]) -> list[InstanceRecord]:
    if len(records) > MAX_INSTANCES:
        raise LimitExceeded("instances of one correction", MAX_INSTANCES, len(records))
    return records
