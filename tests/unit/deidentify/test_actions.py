"""Which attribute meets which action."""

from __future__ import annotations

import pytest

from nearframe.deidentify.actions import Action, action_for
from nearframe.deidentify.profile import Option, Profile
from nearframe.deidentify.table import basic_actions, device_tags, institution_tags, patient_tags
from nearframe.dicom.dictionary import tag_of

BASIC = Profile()


def action(keyword: str, vr: str, *options: Option) -> Action:
    tag = tag_of(keyword)
    assert tag is not None
    return action_for(tag, vr, Profile(frozenset(options)))


def test_the_table_is_whole() -> None:
    # 2026c: 652 rows, less the commands, the file meta information and the DICOMDIR.
    assert len(basic_actions()) == 648
    assert set(basic_actions().values()) == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
    assert device_tags() | institution_tags() | patient_tags() <= basic_actions().keys()


@pytest.mark.parametrize(
    ("keyword", "vr", "expected"),
    [
        ("PatientName", "PN", Action.EMPTY),
        ("PatientAddress", "LO", Action.REMOVE),
        ("StudyInstanceUID", "UI", Action.UID),
        ("ContentDate", "DA", Action.DUMMY),
        ("AcquisitionDate", "DA", Action.EMPTY),
        ("DeviceSerialNumber", "LO", Action.DUMMY),
        ("SourceImageSequence", "SQ", Action.KEEP),
        ("ReferencedStudySequence", "SQ", Action.REMOVE),
        ("Rows", "US", Action.KEEP),
        ("SOPClassUID", "UI", Action.KEEP),
        ("CodingSchemeUID", "UI", Action.KEEP),
    ],
)
def test_the_basic_profile(keyword: str, vr: str, expected: Action) -> None:
    assert action(keyword, vr) is expected


@pytest.mark.parametrize(
    ("keyword", "vr", "option", "expected"),
    [
        ("StudyInstanceUID", "UI", Option.UIDS, Action.KEEP),
        ("ReferencedStudySequence", "SQ", Option.UIDS, Action.KEEP),
        ("UID", "UI", Option.UIDS, Action.UID),
        ("DigitalSignatureUID", "UI", Option.UIDS, Action.UID),
        ("GPSTimeStamp", "DT", Option.DATES, Action.REMOVE),
        ("GPSTimeStamp", "DT", Option.MODIFIED_DATES, Action.REMOVE),
        ("FrameOriginTimestamp", "OB", Option.DATES, Action.KEEP),
        ("FrameOriginTimestamp", "OB", Option.MODIFIED_DATES, Action.DUMMY),
        ("StudyDate", "DA", Option.DATES, Action.KEEP),
        ("StudyTime", "TM", Option.DATES, Action.KEEP),
        ("StudyDate", "DA", Option.MODIFIED_DATES, Action.DATE),
        ("AcquisitionDateTime", "DT", Option.MODIFIED_DATES, Action.DATE),
        ("StudyTime", "TM", Option.MODIFIED_DATES, Action.KEEP),
        ("TimezoneOffsetFromUTC", "SH", Option.MODIFIED_DATES, Action.KEEP),
        ("PatientBirthDate", "DA", Option.DATES, Action.EMPTY),
        ("PatientBirthDate", "DA", Option.MODIFIED_DATES, Action.EMPTY),
        ("PatientAge", "AS", Option.PATIENT, Action.KEEP),
        ("PatientName", "PN", Option.PATIENT, Action.EMPTY),
        ("DeviceSerialNumber", "LO", Option.DEVICE, Action.KEEP),
        ("DeviceUID", "UI", Option.DEVICE, Action.KEEP),
        ("InstitutionName", "LO", Option.INSTITUTION, Action.KEEP),
        ("InstitutionName", "LO", Option.DEVICE, Action.DUMMY),
    ],
)
def test_options(keyword: str, vr: str, option: Option, expected: Action) -> None:
    assert action(keyword, vr, option) is expected


@pytest.mark.parametrize(
    ("tag", "vr", "expected"),
    [
        (0x60003000, "OW", Action.REMOVE),
        (0x60020010, "US", Action.REMOVE),
        (0x50003000, "OW", Action.REMOVE),
        (0x00089999, "LO", Action.REMOVE),  # no such attribute
        (0x00280010, "UN", Action.REMOVE),  # not understood
        (0x00142006, "PN", Action.DUMMY),  # a name that the table does not list
        (0x00141020, "DA", Action.DUMMY),
        (0x00083012, "UI", Action.UID),
        (0x00081190, "UR", Action.REMOVE),
    ],
)
def test_what_the_table_does_not_list(tag: int, vr: str, expected: Action) -> None:
    assert action_for(tag, vr, BASIC) is expected
