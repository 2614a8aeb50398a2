"""Which level of the information model an attribute describes.

PS3.3 sections C.7.1 to C.7.5 say which modules describe the patient and study, the series
and its equipment; the rest is the instance's. Attributes are named by eight upper-case hex
digits, as in DICOM JSON.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Final

from nearframe.dicom.attributes import instance_keys, keys, series_keys, study_keys


class Level(IntEnum):
    """Study, series or instance: the levels DICOMweb searches."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


#: Computed by the archive, never taken from an object: the highest level whose answers have it.
COMPUTED: Final = {
    "00080056": Level.STUDY,  # Instance Availability
    "00080061": Level.STUDY,  # Modalities in Study
    "00080062": Level.STUDY,  # SOP Classes in Study
    "00081190": Level.STUDY,  # Retrieve URL
    "00083002": Level.INSTANCE,  # Available Transfer Syntax UID
    "00201206": Level.STUDY,  # Number of Study Related Series
    "00201208": Level.STUDY,  # Number of Study Related Instances
    "00201209": Level.SERIES,  # Number of Series Related Instances
}

# PS3.3 C.7.1 Patient, C.7.2 Study, and C.7.1.3, C.7.2.3 Clinical Trial: groups 0010, 0012 and 0032,
# what answers show of a study, and these.
_STUDY_GROUPS: Final = ("0010", "0012", "0032")
_STUDY_MODULES: Final = (
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "PhysiciansReadingStudyIdentificationSequence",
    "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers",
    "ConsultingPhysicianIdentificationSequence",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "ServiceEpisodeDescription",
    "IssuerOfServiceEpisodeIDSequence",
    "ReasonForTheRequestedProcedure",
    "ReasonForPerformedProcedureCodeSequence",
)

# PS3.3 C.7.3 Series, C.7.4 Frame of Reference, C.7.5 Equipment: what answers show of a series, and these.
_SERIES_MODULES: Final = (
    "InstitutionAddress",
    "InstitutionCodeSequence",
    "InstitutionalDepartmentTypeCodeSequence",
    "PerformingPhysicianIdentificationSequence",
    "OperatorIdentificationSequence",
    "RelatedSeriesSequence",
    "ClinicalTrialCoordinatingCenterName",
    "ClinicalTrialSeriesID",
    "ClinicalTrialSeriesDescription",
    "GantryID",
    "SpatialResolution",
    "DateOfLastCalibration",
    "TimeOfLastCalibration",
    "PositionReferenceIndicator",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "PerformedProtocolCodeSequence",
    "CommentsOnThePerformedProcedureStep",
)


@cache
def answer_keys(level: Level) -> frozenset[str]:
    """Return what an answer has if the object has it."""
    return frozenset({Level.STUDY: study_keys, Level.SERIES: series_keys, Level.INSTANCE: instance_keys}[level]())


@cache
def study_modules() -> frozenset[str]:
    """Return what describes a study, besides whole groups."""
    return answer_keys(Level.STUDY).union(keys(*_STUDY_MODULES))


@cache
def series_modules() -> frozenset[str]:
    """Return what describes a series."""
    return answer_keys(Level.SERIES).union(keys(*_SERIES_MODULES))


def level_of(tag: str) -> Level:
    """Return the level that an attribute describes; what no study or series module names is the instance's."""
    if tag in COMPUTED:
        return COMPUTED[tag]
    if tag in series_modules():
        return Level.SERIES
    if tag in study_modules() or tag[:4] in _STUDY_GROUPS:
        return Level.STUDY
    return Level.INSTANCE
