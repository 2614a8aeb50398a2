"""Which attribute belongs to which level of the information model, and what a search returns of it.

PS3.18 section 10.6.3 lists the attributes a search answers with; PS3.3 sections C.7.1 to C.7.5
say which modules describe the patient and study, the series and its equipment, and leave the
rest to the instance. Attributes are named by eight upper-case hex digits, as in DICOM JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from nearframe.dicom.model import DICOMJSON, Attributes


class Level(IntEnum):
    """Study, series or instance: the levels DICOMweb searches."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


#: At every level: what the strings are encoded in, and which offset the times have.
COMMON: Final = frozenset({"00080005", "00080201"})

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

#: PS3.18 Table 10.6.3-3 and the study and patient attributes that viewers ask for.
STUDY_ANSWER: Final = COMMON | {
    "00080020",  # Study Date
    "00080030",  # Study Time
    "00080050",  # Accession Number
    "00080090",  # Referring Physician's Name
    "00081030",  # Study Description
    "00081032",  # Procedure Code Sequence
    "00081060",  # Name of Physician(s) Reading Study
    "00100010",  # Patient's Name
    "00100020",  # Patient ID
    "00100021",  # Issuer of Patient ID
    "00100030",  # Patient's Birth Date
    "00100040",  # Patient's Sex
    "00101010",  # Patient's Age
    "00101020",  # Patient's Size
    "00101030",  # Patient's Weight
    "0020000D",  # Study Instance UID
    "00200010",  # Study ID
}

#: PS3.18 Table 10.6.3-4 and what series lists show.
SERIES_ANSWER: Final = COMMON | {
    "00080021",  # Series Date
    "00080031",  # Series Time
    "00080060",  # Modality
    "00080070",  # Manufacturer
    "00080080",  # Institution Name
    "0008103E",  # Series Description
    "00081090",  # Manufacturer's Model Name
    "00180015",  # Body Part Examined
    "00181030",  # Protocol Name
    "0020000E",  # Series Instance UID
    "00200011",  # Series Number
    "00200060",  # Laterality
    "00400244",  # Performed Procedure Step Start Date
    "00400245",  # Performed Procedure Step Start Time
    "00400275",  # Request Attributes Sequence
}

#: PS3.18 Table 10.6.3-5 and what tells documents, presentations and images apart.
INSTANCE_ANSWER: Final = COMMON | {
    "00080008",  # Image Type
    "00080016",  # SOP Class UID
    "00080018",  # SOP Instance UID
    "00080022",  # Acquisition Date
    "00080023",  # Content Date
    "00080032",  # Acquisition Time
    "00080033",  # Content Time
    "00200012",  # Acquisition Number
    "00200013",  # Instance Number
    "00280004",  # Photometric Interpretation
    "00280008",  # Number of Frames
    "00280010",  # Rows
    "00280011",  # Columns
    "00280100",  # Bits Allocated
    "0040A043",  # Concept Name Code Sequence
    "0040A491",  # Completion Flag
    "0040A493",  # Verification Flag
    "00420010",  # Document Title
    "00420012",  # MIME Type of Encapsulated Document
    "00700080",  # Content Label
    "00700081",  # Content Description
}

ANSWER: Final = {Level.STUDY: STUDY_ANSWER, Level.SERIES: SERIES_ANSWER, Level.INSTANCE: INSTANCE_ANSWER}

# PS3.3 C.7.2.1 General Study; groups 0010 and 0012 (patient, clinical trial) are told by group.
_STUDY_MODULES: Final = STUDY_ANSWER | {
    "00080051",
    "00080096",
    "0008009C",
    "0008009D",
    "00081048",
    "00081049",
    "00081062",
    "00081080",
    "00081084",
    "00081110",
    "00081120",
    "00321033",
    "00321060",
    "00380010",
    "00380014",
    "00380060",
    "00380062",
    "00380064",
    "00401002",
    "00401012",
}
_STUDY_GROUPS: Final = ("0010", "0012", "0032")

# PS3.3 C.7.3.1 General Series, C.7.4.1 Frame of Reference, C.7.5.1 General Equipment,
# and the series part of the clinical trial modules.
_SERIES_MODULES: Final = SERIES_ANSWER | {
    "00080081",
    "00080082",
    "0008103F",
    "00081010",
    "00081040",
    "00081041",
    "00081050",
    "00081052",
    "00081070",
    "00081072",
    "00081111",
    "00081250",
    "00120060",
    "00120071",
    "00120072",
    "00181000",
    "00181008",
    "00181020",
    "00181050",
    "00181200",
    "00181201",
    "00185100",
    "00200052",
    "00201040",
    "00400250",
    "00400251",
    "00400253",
    "00400254",
    "00400260",
    "00400280",
}


def level_of(tag: str) -> Level:
    """Return the level that an attribute describes; what no study or series module names is the instance's."""
    if tag in COMPUTED:
        return COMPUTED[tag]
    if tag in _SERIES_MODULES:
        return Level.SERIES
    if tag in _STUDY_MODULES or tag[:4] in _STUDY_GROUPS:
        return Level.STUDY
    return Level.INSTANCE


def select(metadata: DICOMJSON, tags: Iterable[str]) -> DICOMJSON:
    """Return the attributes of `metadata` that `tags` names, ordered by tag (PS3.18 section F.2.2)."""
    return {tag: metadata[tag] for tag in sorted(tags) if tag in metadata}


def attributes_of(metadata: DICOMJSON) -> Attributes:
    """Return what searches answer with, by level, from the metadata of an instance."""
    return Attributes(
        study=select(metadata, STUDY_ANSWER),
        series=select(metadata, SERIES_ANSWER),
        instance=select(metadata, INSTANCE_ANSWER),
    )
