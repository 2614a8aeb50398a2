"""Names in the character sets of the world: found by keys in any set that has them, told in the set of the question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from nearframe.cli import main
from nearframe.dimse.scp_find import STUDY_ROOT_FIND
from nearframe.dimse.status import Status
from tests.conformance.dimse_nodes import DicomNode
from tests.conformance.test_dimse_pynetdicom import called

pytestmark = pytest.mark.filterwarnings("ignore:.*pynetdicom:DeprecationWarning")

_STUDY = "2.25.20261123"
_JAPANESE, _KATAKANA = ["", "ISO 2022 IR 87"], ["ISO 2022 IR 13", "ISO 2022 IR 87"]
_KOREAN = ["", "ISO 2022 IR 149"]
#: But for ISO 2022 IR 58, whose escape sequences pydicom leaves out and leaves in.
NAMES: list[tuple[str | list[str], str]] = [
    ("ISO_IR 100", "Buc^Jérôme"),
    ("ISO_IR 101", "Łącka^Zofia"),
    ("ISO_IR 126", "Διονυσιος^Νικος"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 144", "Люксембург^Иван"),
    ("ISO_IR 148", "Çavuşoğlu^Işık"),
    ("ISO_IR 166", "นามสกุล^สมชาย"),
    ("ISO_IR 13", "ｻﾄｳ^ｲﾁﾛｳ"),
    (_JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (_KATAKANA, "ﾀﾅｶ^ﾊﾅｺ=田中^花子=たなか^はなこ"),
    (_KOREAN, "Hong^Gildong=洪^吉洞=홍^길동"),
    ("GB18030", "Wang^XiaoNan=王^小南"),
    ("GBK", "Li^Na=李^娜"),
    ("ISO_IR 192", "Ångström^Zoë=鄭^成功"),
]
Find: TypeAlias = Callable[["str | list[str]", str], list[pydicom.Dataset]]
IDS = [terms if isinstance(terms, str) else "+".join(term or "ASCII" for term in terms) for terms, _ in NAMES]


@pytest.fixture(scope="module", autouse=True)
def sent(node: DicomNode, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The node holds a study of each patient."""
    folder = tmp_path_factory.mktemp("names")
    for number, (terms, name) in enumerate(NAMES):
        dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        dataset.SpecificCharacterSet, dataset.PatientName = terms, name
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_STUDY}.{number}", f"{_STUDY}.{number}.1"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{_STUDY}.{number}.1.1")
        dataset.save_as(folder / f"{number}.dcm")
    assert main(["dicom", "send", node.peer, str(folder)]) == 0


@pytest.fixture(scope="module")
def find(node: DicomNode) -> Iterator[Find]:
    """Searches by name, on one association."""

    def find(terms: str | list[str], name: str) -> list[pydicom.Dataset]:
        asked = pydicom.Dataset()
        asked.SpecificCharacterSet, asked.PatientName = terms, name
        asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", ""
        answers = list(held.send_c_find(asked, STUDY_ROOT_FIND))
        assert answers[-1][0].Status == Status.SUCCESS
        return [found for _, found in answers[:-1] if found is not None]

    with called(node, STUDY_ROOT_FIND) as held:
        yield find


@pytest.mark.parametrize(("terms", "name"), NAMES, ids=IDS)
def test_a_name_is_found_and_told_in_its_own_set(find: Find, terms: str | list[str], name: str) -> None:
    (found,) = find(terms, name)
    assert found.PatientName == name
    assert found.SpecificCharacterSet == terms


@pytest.mark.parametrize(("terms", "name"), NAMES, ids=IDS)
def test_a_part_of_a_name_is_found(find: Find, terms: str | list[str], name: str) -> None:
    alphabetic, *groups = name.split("=")
    parts = [f"{alphabetic[:3]}*", f"{alphabetic[0]}?{alphabetic[2:]}"]
    parts += ["=" * number + f"{group[0]}*" for number, group in enumerate(groups, start=1)]
    for part in parts:
        # pydicom writes nothing but katakana in ISO_IR 13.
        for asked in ["ISO_IR 192"] if terms == "ISO_IR 13" else ["ISO_IR 192", terms]:
            assert name in [one.PatientName for one in find(asked, part)], part


def test_who_has_no_set_for_a_name_is_told_in_utf_8(find: Find) -> None:
    for asked, part in (("ISO_IR 100", "Yamada*"), ("", "Hong*")):
        (found,) = find(asked, part)
        assert found.SpecificCharacterSet == "ISO_IR 192"
        assert found.PatientName in [name for _, name in NAMES]
