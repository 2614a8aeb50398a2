"""Searches as viewers send them, on every database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nearframe.context import Context, Scope, local_admin
from nearframe.dicom.levels import Level
from nearframe.errors import MalformedRequest
from nearframe.query import search as search_module
from nearframe.query.search import GAVE_UP, MORE_RESULTS, SearchAnswer, SearchService
from nearframe.storage.catalogue import SQLCatalogue
from tests.unit.query.searchable import SR, STUDIES, YAMADA
from tests.unit.storage.catalogue.objects import CT_IMAGE, MR_IMAGE

ADMIN = local_admin()
BASE = "https://edge.example/dicomweb"
EVERY_STUDY = [4, 3, 2, 1, 5]  # newest first, the undated one last


def rows(answer: SearchAnswer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(answer.render(BASE))
    return found


def value(row: dict[str, Any], tag: str) -> Any:
    return row[tag]["Value"][0]


def studies(search: SearchService, *params: tuple[str, str]) -> list[int]:
    """Return the numbers of the studies found."""
    found = rows(search.search(ADMIN, Level.STUDY, params))
    return [int(value(row, "0020000D").rpartition(".")[2]) for row in found]


def uids(answer: SearchAnswer, tag: str) -> list[str]:
    return [value(row, tag).removeprefix("1.2.") for row in rows(answer)]


class TestAnswers:
    def test_a_study(self, search: SearchService) -> None:
        [row] = rows(search.search(ADMIN, Level.STUDY, [("StudyInstanceUID", "1.2.1")]))
        assert value(row, "00100010") == {"Alphabetic": "Müller^Jürgen^^Dr."}
        assert row["00080061"] == {"vr": "CS", "Value": ["CT", "SR"]}
        assert row["00080062"] == {"vr": "UI", "Value": sorted([CT_IMAGE, SR])}
        assert row["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
        assert row["00081190"] == {"vr": "UR", "Value": [f"{BASE}/studies/1.2.1"]}
        assert (value(row, "00201206"), value(row, "00201208")) == (2, 4)
        assert row["00080020"] == {"vr": "DA", "Value": ["20180107"]}
        assert "00080060" not in row
        assert list(row) == sorted(row)

    def test_series_of_a_study(self, search: SearchService) -> None:
        first, second = rows(search.search(ADMIN, Level.SERIES, [], study="1.2.1"))
        assert (value(first, "00200011"), value(second, "00200011")) == (2, 10)
        assert value(first, "00080060") == "CT"
        assert value(first, "00201209") == 2
        assert value(first, "00081190") == f"{BASE}/studies/1.2.1/series/1.2.1.1"
        assert "00100010" not in first

    def test_a_series_without_number_comes_last(self, search: SearchService) -> None:
        answer = search.search(ADMIN, Level.SERIES, [], study="1.2.3")
        assert uids(answer, "0020000E") == ["3.1", "3.2"]

    def test_instances_of_a_series(self, search: SearchService) -> None:
        answer = search.search(ADMIN, Level.INSTANCE, [], study="1.2.1", series="1.2.1.1")
        first, second = rows(answer)
        assert (value(first, "00200013"), value(second, "00200013")) == (1, 2)
        assert value(first, "00080016") == CT_IMAGE
        assert value(first, "00083002") == "1.2.840.10008.1.2.1"
        assert value(first, "00081190") == f"{BASE}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1"
        assert "00080060" not in first

    def test_instances_of_a_study_show_their_series(self, search: SearchService) -> None:
        answer = search.search(ADMIN, Level.INSTANCE, [], study="1.2.1")
        assert uids(answer, "00080018") == ["1.1.1", "1.1.2", "1.2.1", "1.2.2"]
        assert [value(row, "00080060") for row in rows(answer)] == ["CT", "CT", "SR", "SR"]
        assert "00100010" not in rows(answer)[0]
        assert value(rows(answer)[0], "00081190").endswith("/instances/1.2.1.1.1")

    def test_series_and_instances_across_studies_show_what_is_above(self, search: SearchService) -> None:
        answer = search.search(ADMIN, Level.SERIES, [("Modality", "MR")])
        assert sorted(uids(answer, "0020000E")) == ["2.1", "3.2", "4.1"]
        assert {value(row, "00100020") for row in rows(answer)} == {"mrn-001", "S-17", "S-18"}
        answer = search.search(ADMIN, Level.INSTANCE, [("SOPInstanceUID", "1.2.2.1.1")])
        [row] = rows(answer)
        assert (value(row, "00100010"), value(row, "00080060")) == (YAMADA, "MR")
        assert value(row, "00081190").endswith("/instances/1.2.2.1.1")
        assert list(row) == sorted(row)

    def test_nothing_there(self, search: SearchService) -> None:
        assert search.search(ADMIN, Level.SERIES, [], study="9.9").render(BASE) == b"[]"
        assert search.search(Context("x", "other"), Level.STUDY, []).rows == []

    def test_a_scope_hides_other_studies(self, search: SearchService) -> None:
        ctx = Context("visitor", "main", Scope(frozenset({"1.2.2", "1.2.9"})))
        assert uids(search.search(ctx, Level.STUDY, []), "0020000D") == ["2"]
        assert search.search(ctx, Level.SERIES, [], study="1.2.1").rows == []
        assert search.search(Context("visitor", "main", Scope(frozenset())), Level.STUDY, []).rows == []


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "text", "expected"),
        [
            ("PatientID", "MRN-001", [1]),
            ("00100020", "MRN-001", [1]),
            ("PatientID", "*-001", [2, 1]),
            ("PatientID", "S-1?", [4, 3]),
            ("PatientID", "s-17", []),
            ("PatientID", r"S-17\S-18", [4, 3]),
            ("IssuerOfPatientID", "HOSPITAL-B", [3]),
            ("AccessionNumber", "A_100%", [1]),
            ("AccessionNumber", "A_1*", [1]),
            ("AccessionNumber", "A?100*", [2, 1]),
            ("AccessionNumber", "*100*", [2, 1]),
            ("StudyDescription", "*head*", [3, 2]),
            ("StudyDescription", "SCHADEL CT NATIV", [1]),
            ("StudyDescription", "kne?", [4]),
            ("PatientSex", "F", [2]),
            ("StudyInstanceUID", "1.2.1,1.2.3", [3, 1]),
            ("StudyInstanceUID", r"1.2.1\1.2.3\1.2.99", [3, 1]),
            ("ModalitiesInStudy", "CT", [3, 1]),
            ("ModalitiesInStudy", "CT,MR", [4, 3, 2, 1]),
            ("ModalitiesInStudy", r"SR\OT", [1, 5]),
            ("ModalitiesInStudy", "M*", [4, 3, 2]),
            ("SOPClassesInStudy", SR, [1]),
            ("SOPClassesInStudy", f"{CT_IMAGE},{SR}", [3, 1]),
            ("NumberOfStudyRelatedInstances", "4", [3, 1]),
            ("PatientBirthDate", "19500101", [1]),
            # Of what the study contains.
            ("Modality", "SR", [1]),
            ("SeriesInstanceUID", "1.2.3.2", [3]),
            ("SeriesDescription", "*B30F", [1]),
            ("SOPInstanceUID", "1.2.2.1.2", [2]),
            ("SOPClassUID", MR_IMAGE, [4, 3, 2]),
        ],
    )
    def test_study_keys(self, search: SearchService, key: str, text: str, expected: list[int]) -> None:
        assert studies(search, (key, text)) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Müller^Jürgen^^Dr.", [1]),
            ("MULLER^JURGEN^^DR.", [1]),
            ("muller", []),
            ("muller*", [1]),
            ("*rgen*", [1]),
            ("m?ller^*", [1]),
            ("Yamada^Tarou", [2]),
            ("山田*", [2]),
            ("*まだ*", [2]),
            ("Yamada^Tarou=山田^太郎", [2]),
            ("Yamada^Tarou=鈴木*", []),
            ("=山田^太郎=", [2]),
            ("*s*", [4, 3]),
            ("Smith^John^", [3]),
            ("Smith^John^*", [3]),
            ("*", EVERY_STUDY),
            ("", EVERY_STUDY),
        ],
    )
    def test_names(self, search: SearchService, text: str, expected: list[int]) -> None:
        assert studies(search, ("PatientName", text)) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("smith", [4, 3]),  # Smythe sounds the same
            ("jo smi", [3]),
            ("john smith", [3, 4]),
            ("joan", [4, 3]),
            ("mull jur", [1]),
            ("mueller", [1]),
            ("*mit*", [3]),
            ("太", [2]),
            ("tarou yamada", [2]),
            ("nobody", []),
        ],
    )
    def test_fuzzy_names(self, search: SearchService, text: str, expected: list[int]) -> None:
        assert sorted(studies(search, ("PatientName", text), ("fuzzymatching", "true"))) == sorted(expected)

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({"StudyDate": "20180113"}, [2]),
            ({"StudyDate": "20180107-20180113"}, [2, 1]),
            ({"StudyDate": "20180114-"}, [4, 3]),
            ({"StudyDate": "-20180107"}, [1]),
            ({"StudyDate": "-"}, EVERY_STUDY),
            ({"StudyTime": "10"}, [2]),
            ({"StudyTime": "0930-1015"}, [2, 1]),
            ({"StudyTime": "101500.25"}, [2]),
            ({"StudyTime": "-0930"}, [1]),
            # From the seventh at ten to the first of February at eleven: not two separate ranges.
            ({"StudyDate": "20180107-20180201", "StudyTime": "100000-110000"}, [3, 2]),
            ({"StudyDate": "20180107-20180201", "StudyTime": "10"}, [2]),
            ({"StudyDate": "20180107-20180113", "StudyTime": "093000-"}, [2, 1]),
        ],
    )
    def test_dates_and_times(self, search: SearchService, params: dict[str, str], expected: list[int]) -> None:
        # Study 3 has no time: in a combined range it stands at the beginning of its day.
        assert studies(search, *params.items()) == expected

    def test_all_keys_have_to_match(self, search: SearchService) -> None:
        assert studies(search, ("PatientID", "*-001"), ("ModalitiesInStudy", "MR")) == [2]
        assert studies(search, ("PatientName", "*s*"), ("StudyDate", "20180201"), ("AccessionNumber", "A*")) == [3]

    def test_empty_values(self, search: SearchService) -> None:
        asked = ("emptyvaluematching", "true")
        assert studies(search, ("PatientName", '""'), asked) == [5]
        assert studies(search, ("StudyDate", '""'), asked) == [5]
        assert studies(search, ("PatientID", '""'), asked) == [5]
        assert studies(search, ("PatientID", '""')) == EVERY_STUDY

    def test_series_keys(self, search: SearchService) -> None:
        def found(*params: tuple[str, str]) -> list[str]:
            return sorted(uids(search.search(ADMIN, Level.SERIES, params), "0020000E"))

        assert found(("SeriesNumber", "2")) == ["1.1"]
        assert found(("SeriesNumber", "1,2,3")) == ["1.1", "2.1", "3.1", "4.1", "5.1"]
        assert found(("BodyPartExamined", "CHEST")) == ["1.1"]
        assert found(("PatientName", "smith*"), ("Modality", "MR")) == ["3.2"]
        assert found(("SOPInstanceUID", "1.2.3.2.1")) == ["3.2"]
        assert found(("SOPClassUID", SR)) == ["1.2"]
        assert found(("00400275.00400009", "STEP-2")) == ["2.1"]
        assert found(("RequestAttributesSequence.RequestedProcedureID", "RP-*")) == ["2.1"]
        assert found(("RequestAttributesSequence.RequestedProcedureID", "rp-*")) == []
        assert found(("Manufacturer", "acme")) == ["2.1"]
        assert found(("ModalitiesInStudy", "SR")) == ["1.1", "1.2"]

    def test_instance_keys(self, search: SearchService) -> None:
        def found(*params: tuple[str, str]) -> list[str]:
            return sorted(uids(search.search(ADMIN, Level.INSTANCE, params), "00080018"))

        assert found(("InstanceNumber", "2"), ("Modality", "CT")) == ["1.1.2", "3.1.2"]
        assert found(("InstanceNumber", "2,99999999999999999999"), ("Modality", "CT")) == ["1.1.2", "3.1.2"]
        assert found(("SOPClassUID", SR)) == ["1.2.1", "1.2.2"]
        assert found(("XRayTubeCurrent", "200"), ("PatientID", "S-17")) == ["3.1.2", "3.2.2"]
        assert found(("SOPInstanceUID", "1.2.1.1.1,1.2.4.1.2")) == ["1.1.1", "4.1.2"]

    def test_what_cannot_be_matched_is_said(self, search: SearchService) -> None:
        answer = search.search(ADMIN, Level.STUDY, [("00400275.00400009", "S"), ("viewer", "x"), ("a\r\nb", "x")])
        assert len(answer.rows) == 5
        assert answer.warnings == (
            "These parameters are not known and were ignored: viewer, a parameter with other characters",
            "These keys cannot be matched at this level and were ignored: 00400275.00400009",
        )

    def test_a_search_that_reads_too_much_gives_up(
        self, search: SearchService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search_module, "MAX_EXAMINED", 3)
        answer = search.search(ADMIN, Level.INSTANCE, [("XRayTubeCurrent", "100")])
        assert 0 < len(answer.rows) < 3
        assert answer.warnings == (GAVE_UP,)

    @pytest.mark.parametrize(
        ("key", "text"),
        [
            ("StudyDate", "yesterday"),
            ("StudyDate", "2018-01-07"),
            ("StudyTime", "25 o'clock"),
            ("SeriesNumber", "one"),
            ("SeriesNumber", "nan"),
            ("StudyInstanceUID", "1.*.3"),
            ("PixelData", "x"),
            ("ReferencedStudySequence", "x"),
            ("PatientName", "x" * 70_000),
            ("PatientID", "x" * 300),
            ("limit", "-1"),
            ("limit", "many"),
            ("offset", "9" * 30),
            ("fuzzymatching", "maybe"),
        ],
    )
    def test_what_cannot_be_read(self, search: SearchService, key: str, text: str) -> None:
        with pytest.raises(MalformedRequest):
            search.search(ADMIN, Level.STUDY, [(key, text)])


class TestFields:
    def find(self, search: SearchService, level: Level, *params: tuple[str, str], **where: str) -> dict[str, Any]:
        return rows(search.search(ADMIN, level, params, **where))[0]

    def test_what_the_answer_has_anyway_costs_nothing(self, search: SearchService) -> None:
        plain = search.search(ADMIN, Level.STUDY, [])
        fields = "00081030,00080060,00080090,00100030"
        assert search.search(ADMIN, Level.STUDY, [("includefield", fields)]).rows == plain.rows

    def test_further_fields(self, search: SearchService) -> None:
        row = self.find(search, Level.INSTANCE, ("includefield", "XRayTubeCurrent"), study="1.2.1", series="1.2.1.1")
        assert row["00181151"] == {"vr": "IS", "Value": [100]}
        assert value(row, "00081190").endswith("/1.2.1.1.1")
        assert list(row) == sorted(row)

    @pytest.mark.parametrize("field", ["PatientName", "00100010", "Rows,PatientName", "00100010.00100020"])
    def test_fields_of_the_levels_above(self, search: SearchService, field: str) -> None:
        row = self.find(search, Level.SERIES, ("includefield", field), study="1.2.2")
        assert value(row, "00100010") == YAMADA
        assert "00280010" not in row

    def test_computed_fields_of_the_levels_above(self, search: SearchService) -> None:
        row = self.find(search, Level.SERIES, ("includefield", "ModalitiesInStudy"), study="1.2.1")
        assert row["00080061"]["Value"] == ["CT", "SR"]

    def test_sequences_below_the_top(self, search: SearchService) -> None:
        row = self.find(search, Level.INSTANCE, ("includefield", "00400275.00400009"), study="1.2.2", series="1.2.2.1")
        assert len(row["00400275"]["Value"]) == 2

    def test_a_key_is_a_field(self, search: SearchService) -> None:
        row = self.find(search, Level.INSTANCE, ("XRayTubeCurrent", "200"), ("PatientID", ""), study="1.2.1")
        assert (value(row, "00181151"), value(row, "00100020")) == (200, "MRN-001")

    def test_all(self, search: SearchService) -> None:
        row = self.find(search, Level.INSTANCE, ("includefield", "all"), study="1.2.1", series="1.2.1.1")
        assert value(row, "00181151") == 100
        assert "00091010" not in row
        assert "00100010" not in row
        row = self.find(search, Level.SERIES, ("includefield", "all"), study="1.2.1")
        assert "00081250" in row
        assert "00181151" not in row

    def test_unknown_fields_are_said(self, search: SearchService) -> None:
        answer = search.search(ADMIN, Level.STUDY, [("includefield", "NoSuchThing")])
        assert answer.warnings == ("These parameters are not known and were ignored: NoSuchThing",)


class TestPaging:
    def test_pages_do_not_overlap(self, search: SearchService) -> None:
        pages = [studies(search, ("limit", "2"), ("offset", str(offset))) for offset in (0, 2, 4, 6)]
        assert pages == [[4, 3], [2, 1], [5], []]

    def test_pages_of_what_python_tests(self, search: SearchService) -> None:
        def page(offset: int) -> list[str]:
            params = [("XRayTubeCurrent", "100"), ("limit", "2"), ("offset", str(offset))]
            return uids(search.search(ADMIN, Level.INSTANCE, params), "00080018")

        found = [uid for offset in (0, 2, 4, 6, 8) for uid in page(offset)]
        assert len(found) == len(set(found)) == 7

    def test_an_answer_cut_short_says_so(self, catalogue: SQLCatalogue) -> None:
        search = SearchService(catalogue, max_results=3)
        for params in ([], [("limit", "4")]):
            answer = search.search(ADMIN, Level.STUDY, params)
            assert (len(answer.rows), answer.warnings) == (3, (MORE_RESULTS,))
        for params in ([("limit", "3")], [("limit", "1")], [("PatientID", "S-1*")], [("limit", "0")]):
            assert search.search(ADMIN, Level.STUDY, params).warnings == ()
        assert search.search(ADMIN, Level.STUDY, [("limit", "0")]).rows == []

    def test_requests_of_viewers(self, search: SearchService) -> None:
        fields = ("includefield", "00081030,00080060,00080090,00100030")
        first = [("limit", "101"), ("offset", "0"), ("fuzzymatching", "true"), fields]
        assert studies(search, *first) == EVERY_STUDY
        assert studies(search, *first, ("PatientName", "*smi*"), ("ModalitiesInStudy", "CT,MR")) == [3]
        assert studies(search, *first, ("00100020", "*17*"), ("StudyDate", "19700102-20261122")) == [3]
        answer = search.search(ADMIN, Level.SERIES, [("includefield", "00080021,00080031,0008103E,00200011")], "1.2.1")
        assert answer.rows == search.search(ADMIN, Level.SERIES, [], "1.2.1").rows


def test_every_study_of_the_archive_is_there(search: SearchService) -> None:
    assert sorted(studies(search)) == sorted(STUDIES)
