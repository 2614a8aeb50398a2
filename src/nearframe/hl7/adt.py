"""Patient administration (ADT): what a hospital says of its patients becomes corrections of what is held of them.

=====================================================  =====================================================
A01-A08, A10-A13, A28, A31, A38                        demographics of PID, where they differ
A40, and before version 2.3.1 A18, A34, A36, A39       patients merged
A47, and before version 2.5 A46                        an identifier given up for another one
=====================================================  =====================================================

So do the orders that wait on the worklist: a scanner is not to bring back what was put right. A message about a
patient of whom nothing is held changes nothing, and is right all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from nearframe.clock import Clock
from nearframe.context import Context
from nearframe.corrections.asked import read_asked
from nearframe.corrections.service import CorrectionService
from nearframe.dicom.attributeedit import read_edit
from nearframe.dicom.attributes import keys
from nearframe.dicom.jsonitems import text_at
from nearframe.dicom.model import DICOMJSON
from nearframe.hl7.er7 import Message
from nearframe.hl7.known import Authorities
from nearframe.hl7.patients import (
    Demographics,
    Identifier,
    Replacement,
    as_attributes,
    demographics_of,
    identifiers_of,
    replacements_of,
)
from nearframe.query.steps import StepService
from nearframe.storage.ports import Catalogue, MergedIdentity, PatientIdentity, StudyRef
from nearframe.units import counted

UPDATES: Final = frozenset(
    {*(f"A{number:02}" for number in range(1, 9)), "A10", "A11", "A12", "A13", "A28", "A31", "A38"}
)
MERGES: Final = frozenset({"A18", "A34", "A36", "A39", "A40"})
CHANGES: Final = frozenset({"A46", "A47"})

_PATIENT_ID: Final = "00100020"
_ISSUER: Final = "00100021"
_TAGS: Final = {keyword: keys(keyword)[0] for keyword in ("PatientName", "PatientBirthDate", "PatientSex")}
NOTHING_HELD: Final = "nothing is held of this patient"


@dataclass(frozen=True, slots=True)
class _Merge:
    """A merge that is to be made of what is held."""

    merged: MergedIdentity
    attributes: Demographics | None


class PatientUpdates:
    """Takes messages about patients. Sync: one thread calls, for one message after the other."""

    def __init__(
        self,
        corrections: CorrectionService,
        catalogue: Catalogue,
        steps: StepService,
        authorities: Authorities,
        clock: Clock,
    ) -> None:
        self._corrections = corrections
        self._catalogue = catalogue
        self._steps = steps
        self._authorities = authorities
        self._clock = clock

    def update(self, ctx: Context, message: Message, reason: str) -> str:
        """Correct the demographics of a patient, and say in words what was done.

        Raises
        ------
        UnacceptableMessage
            If the message lacks something, or cannot be read.
        RequestError, StorageError
            If the correction cannot be made.
        """
        pid = message.only("PID")
        wanted = demographics_of(pid)
        identifiers = identifiers_of(pid, self._authorities)
        held = dict.fromkeys(one for identifier in identifiers for one in self._held(ctx, identifier))
        corrected = sum(self._correct(ctx, one, wanted, reason) for one in held)
        edit = read_edit(as_attributes(wanted)).set
        steps = sum(self._revise_steps(ctx, identifier, edit) for identifier in identifiers)
        nothing = "everything held says so already" if held else NOTHING_HELD
        return _told(f"{counted(corrected, 'instance')} corrected" if corrected else "", steps) or nothing

    def merge(self, ctx: Context, message: Message, reason: str) -> str:
        """File what is held of patients under those they are merged into; raises as `update`."""
        return self._replace(ctx, message, reason, names_survivor=True)

    def change(self, ctx: Context, message: Message, reason: str) -> str:
        """Give patients another identifier, and leave what else is said of them; raises as `update`."""
        return self._replace(ctx, message, reason, names_survivor=False)

    # -- demographics ----------------------------------------------------------------------

    def _correct(self, ctx: Context, patient: PatientIdentity, wanted: Demographics, reason: str) -> int:
        differing = self._differing(ctx, patient, wanted)
        if not differing:
            return 0
        select = {"patient": {"id": patient.id, "issuer": patient.issuer}}
        asked = {"action": "attributes", "reason": reason, "select": select, "set": as_attributes(differing)}
        return self._corrections.make(ctx, read_asked(asked)).instances

    def _differing(self, ctx: Context, patient: PatientIdentity, wanted: Demographics) -> Demographics:
        """Return what some instance of a patient says otherwise."""
        found: dict[str, Any] = {}
        for document in self._documents(ctx, patient):
            found |= {keyword: value for keyword, value in wanted.items() if not _says(document, keyword, value)}
            if len(found) == len(wanted):
                break
        return found

    def _documents(self, ctx: Context, patient: PatientIdentity) -> Iterator[DICOMJSON]:
        for study in self._corrections.record.studies_of_patient(ctx.tenant, patient.id):
            if study.issuer == patient.issuer:
                for _, document in self._catalogue.metadata(StudyRef(ctx.tenant, study.study_instance_uid)):
                    read: DICOMJSON = json.loads(document)
                    # A study may hold another patient's instances: those are not meant.
                    if (text_at(read, _PATIENT_ID), text_at(read, _ISSUER)) == (patient.id, patient.issuer):
                        yield read

    # -- identifiers -----------------------------------------------------------------------

    def _replace(self, ctx: Context, message: Message, reason: str, *, names_survivor: bool) -> str:
        replacements = replacements_of(message, self._authorities)
        # All of it is looked at before any of it is done; one may be about what the one before it filed.
        for one in replacements:
            self._check(ctx, one)
        moved = sum(
            self._make(ctx, merge, reason)
            for one in replacements
            for merge in self._merges(ctx, one, names_survivor=names_survivor)
        )
        # Also where nothing is held: it may be on its way.
        given_up = [one for each in replacements for one in _given_up(each)]
        self._corrections.record.identities.note(ctx.tenant, given_up, self._clock.now())
        steps = sum(self._replace_in_steps(ctx, one, names_survivor=names_survivor) for one in replacements)
        return (
            _told(f"{counted(moved, 'instance')} filed under the identifier that stays" if moved else "", steps)
            or NOTHING_HELD
        )

    def _check(self, ctx: Context, replacement: Replacement) -> None:
        demographics_of(replacement.pid)
        if replacement.by is None and self._held(ctx, replacement.prior):
            raise replacement.prior.place.wrong(
                204, "PID-3 does not name one identifier of the same authority, and this one is held"
            )

    def _merges(self, ctx: Context, replacement: Replacement, *, names_survivor: bool) -> Iterator[_Merge]:
        by = replacement.by
        if by is None:
            return
        survivors = self._held(ctx, by)
        says = demographics_of(replacement.pid) if names_survivor else {}
        for prior in self._held(ctx, replacement.prior):
            # What is held of who stays says who that is; else the message does.
            into = survivors[0] if survivors else PatientIdentity(by.id, _kept_issuer(prior, by))
            yield _Merge(MergedIdentity(prior, into), None if survivors else says)

    def _make(self, ctx: Context, merge: _Merge, reason: str) -> int:
        prior, into = merge.merged.prior, merge.merged.into
        target: dict[str, Any] = {"id": into.id, "issuer": into.issuer}
        if merge.attributes is not None:
            target["attributes"] = as_attributes(merge.attributes)
        source = {"id": prior.id, "issuer": prior.issuer}
        asked = {"action": "merge", "reason": reason, "from": source, "into": target}
        return self._corrections.make(ctx, read_asked(asked)).instances

    # -- the worklist ----------------------------------------------------------------------

    def _replace_in_steps(self, ctx: Context, replacement: Replacement, *, names_survivor: bool) -> int:
        if replacement.by is None:
            return 0
        says: Demographics = demographics_of(replacement.pid) if names_survivor else {}
        (issuer, *_) = replacement.by.issuers
        named = {"PatientID": replacement.by.id, "IssuerOfPatientID": issuer}
        return self._revise_steps(ctx, replacement.prior, read_edit(as_attributes(says) | named).set)

    def _revise_steps(self, ctx: Context, identifier: Identifier, edit: DICOMJSON) -> int:
        """Change how a patient is called in orders that wait."""
        identities = {(identifier.id, issuer) for issuer in identifier.issuers}

        def revised(item: DICOMJSON) -> DICOMJSON:
            return item | edit if (text_at(item, _PATIENT_ID), text_at(item, _ISSUER)) in identities else item

        yesterday = self._clock.now() - timedelta(days=1)
        return self._steps.revise(ctx, yesterday.strftime("%Y%m%d"), revised)

    # --------------------------------------------------------------------------------------

    def _held(self, ctx: Context, identifier: Identifier) -> list[PatientIdentity]:
        """Return the identities in view that an identifier may stand for: its own issuers', nobody else's."""
        studies = self._corrections.record.studies_of_patient(ctx.tenant, identifier.id)
        in_view = {study.issuer for study in studies}
        return [PatientIdentity(identifier.id, issuer) for issuer in identifier.issuers if issuer in in_view]


def _told(images: str, steps: int) -> str:
    """Return in words what was done, empty if that was nothing."""
    return ", ".join(filter(None, (images, f"{counted(steps, 'step')} of the worklist changed" if steps else "")))


def _kept_issuer(prior: PatientIdentity, by: Identifier) -> str:
    """Return how images of a patient that is not here yet name the issuer: as the merged ones do, if that is right."""
    return prior.issuer if prior.issuer in by.issuers else by.issuers[0]


def _given_up(replacement: Replacement) -> Iterator[MergedIdentity]:
    by = replacement.by
    if by is not None:
        for issuer in replacement.prior.issuers:
            prior = PatientIdentity(replacement.prior.id, issuer)
            yield MergedIdentity(prior, PatientIdentity(by.id, _kept_issuer(prior, by)))


def _says(document: DICOMJSON, keyword: str, value: str | Mapping[str, str]) -> bool:
    tag = _TAGS[keyword]
    if isinstance(value, str):
        return text_at(document, tag) == value
    values = document.get(tag, {}).get("Value") or [{}]
    # Forms of a name that the message does not give are left as they are.
    return all(_bare(values[0].get(form, "")) == name for form, name in value.items())


def _bare(name: str) -> str:
    """Return a name without the padding and the empty components that some writers put behind it."""
    return "^".join(part.strip() for part in name.split("^")).rstrip("^ ")
