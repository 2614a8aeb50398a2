"""The attributes that searches match and answer with, by level (PS3.18 section 10.6.3.3).

A subset of the metadata: what Tables 10.6.3-3 to -5 require, and what viewers and
worklists ask for beside it. Everything else stays reachable through the metadata itself.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from nearframe.dicom.dictionary import tag_of
from nearframe.dicom.model import DICOMJSON, Attributes

#: A sequence of more items is evidence, not something to search by: references of a segmentation to 1000 slices.
MAX_ITEMS: Final = 64

_ALL_LEVELS = ("SpecificCharacterSet", "TimezoneOffsetFromUTC")

_STUDY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName"),
    *("ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName", "StudyDescription"),
    *("ProcedureCodeSequence", "NameOfPhysiciansReadingStudy", "AdmittingDiagnosesDescription"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate"),
    *("PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientSpeciesDescription", "EthnicGroup", "Occupation"),
    *("AdditionalPatientHistory", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("StudyInstanceUID", "StudyID", "RequestingPhysician", "RequestingService", "RequestedProcedureDescription"),
    "AdmissionID",
)

_SERIES = (
    *("Modality", "SeriesDescription", "SeriesDescriptionCodeSequence", "SeriesInstanceUID", "SeriesNumber"),
    *("SeriesDate", "SeriesTime", "PerformingPhysicianName", "OperatorsName", "Manufacturer", "InstitutionName"),
    *("InstitutionalDepartmentName", "StationName", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
    *("BodyPartExamined", "Laterality", "PatientPosition", "ProtocolName", "FrameOfReferenceUID"),
    *("PresentationIntentType", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
    *("PerformedProcedureStepID", "PerformedProcedureStepDescription", "RequestAttributesSequence"),
    *("ReferencedPerformedProcedureStepSequence", "AnatomicRegionSequence"),
)

# A search of a series answers with every instance of it: references and what display needs stay in the metadata.
_INSTANCE = (
    *("ImageType", "InstanceCreationDate", "InstanceCreationTime", "SOPClassUID", "SOPInstanceUID"),
    *("AcquisitionDate", "ContentDate", "AcquisitionDateTime", "AcquisitionTime", "ContentTime"),
    *("ImageLaterality", "ViewPosition", "AcquisitionNumber", "InstanceNumber", "SliceLocation"),
    *("NumberOfFrames", "ConcatenationUID", "InConcatenationNumber", "PhotometricInterpretation"),
    *("Rows", "Columns", "BitsAllocated", "LossyImageCompression", "ConceptNameCodeSequence"),
    *("CompletionFlag", "VerificationFlag", "DocumentTitle", "MIMETypeOfEncapsulatedDocument"),
    *("ContentLabel", "ContentDescription", "ContentCreatorName", "PresentationCreationDate"),
    *("PresentationCreationTime", "StructureSetLabel", "StructureSetDate", "StructureSetTime"),
    *("RTPlanLabel", "RTPlanDate"),
)


def keys(*keywords: str) -> tuple[str, ...]:
    """Return the JSON keys of keywords, ascending as PS3.18 F.2 wants them."""
    tags = {keyword: tag_of(keyword) for keyword in keywords}
    return tuple(sorted(f"{tag:08X}" for tag in tags.values() if tag is not None))


@cache
def study_keys() -> tuple[str, ...]:
    """Return the keys of a study's attributes."""
    return keys(*_ALL_LEVELS, *_STUDY)


@cache
def series_keys() -> tuple[str, ...]:
    """Return the keys of a series' attributes."""
    return keys(*_ALL_LEVELS, *_SERIES)


@cache
def instance_keys() -> tuple[str, ...]:
    """Return the keys of an instance's attributes."""
    return keys(*_ALL_LEVELS, *_INSTANCE)


def attributes_of(metadata: DICOMJSON) -> Attributes:
    """Return the search attributes of an instance, by level."""
    return Attributes(
        study=_subset(metadata, study_keys()),
        series=_subset(metadata, series_keys()),
        instance=_subset(metadata, instance_keys()),
    )


def _subset(metadata: DICOMJSON, keys: tuple[str, ...]) -> DICOMJSON:
    return {key: metadata[key] for key in keys if key in metadata and _is_small(metadata[key])}


def _is_small(attribute: DICOMJSON) -> bool:
    return "BulkDataURI" not in attribute and len(attribute.get("Value", ())) <= MAX_ITEMS
