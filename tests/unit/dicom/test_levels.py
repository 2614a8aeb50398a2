from __future__ import annotations

import pytest
from pydicom.datadict import keyword_for_tag

from nearframe.dicom.attributes import instance_keys, keys, series_keys, study_keys
from nearframe.dicom.levels import COMPUTED, Level, level_of, series_modules, study_modules


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("PatientName", Level.STUDY),
        ("PregnancyStatus", Level.STUDY),
        ("AccessionNumber", Level.STUDY),
        ("ModalitiesInStudy", Level.STUDY),
        ("Modality", Level.SERIES),
        ("InstitutionName", Level.SERIES),
        ("FrameOfReferenceUID", Level.SERIES),
        ("ClinicalTrialSeriesID", Level.SERIES),
        ("NumberOfSeriesRelatedInstances", Level.SERIES),
        ("Rows", Level.INSTANCE),
        ("SOPClassUID", Level.INSTANCE),
        ("AvailableTransferSyntaxUID", Level.INSTANCE),
    ],
)
def test_level_of_an_attribute(keyword: str, level: Level) -> None:
    assert level_of(keys(keyword)[0]) is level


def test_a_private_attribute_is_the_instances() -> None:
    assert level_of("00291010") is Level.INSTANCE


def test_answers_show_an_attribute_at_the_level_it_describes() -> None:
    common = {"00080005", "00080201"}
    for level, found in ((Level.STUDY, study_keys()), (Level.SERIES, series_keys()), (Level.INSTANCE, instance_keys())):
        assert {tag for tag in found if level_of(tag) is not level} <= common
        assert list(found) == sorted(found)
        assert not COMPUTED.keys() & found


def test_every_keyword_is_in_the_dictionary() -> None:
    assert all(keyword_for_tag(int(tag, 16)) for tag in study_modules() | series_modules())
    assert keys("NoSuchKeyword") == ()
