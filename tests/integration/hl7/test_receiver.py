"""Messages, right and wrong, to an archive that holds something: the answer to each, and what became of the images."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.context import local_admin
from nearframe.corrections.asked import read_asked
from nearframe.errors import BackendFailed, Busy, Conflict, NotFound
from nearframe.hl7.mllp import Cut, Frame
from nearframe.metrics import HL7_MESSAGES
from tests.hl7messages import adt, message, mrg, pid
from tests.integration.hl7.conftest import Archive, opened
from tests.syncing import STUDY_UID, Change, ct_series, instance_uid

ONE, TWO, THREE = "1.2.826.7.1", "1.2.826.7.2", "1.2.826.7.3"


def patient(identifier: str, issuer: str = "", name: str = "Doe^Jane") -> Change:
    def change(ds: pydicom.Dataset) -> None:
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientID, ds.PatientName = identifier, name
        if issuer:
            ds.IssuerOfPatientID = issuer

    return change


async def store(archive: Archive, study: str, change: Change, count: int = 2) -> None:
    report = await archive.node.store(*ct_series(count, study=study, change=change))
    assert not report.failed


# Each is sent to an archive that holds P1 of HOSP and, in another study, P1 of CLINIC.
P1 = pid("P1^^^HOSP^MR")
MERGE = (pid("P2^^^HOSP^MR", "Roe^Richard"), mrg("P1^^^HOSP^MR"))
CORPUS: dict[str, tuple[bytes, str, str, str]] = {
    # what: (message, code, condition and place of the error, what is said)
    "demographics that differ": (adt("A08", P1), "AA", "", "2 instances corrected"),
    "by A31": (adt("A31", P1), "AA", "", "2 instances corrected"),
    "by a registration": (adt("A04", P1), "AA", "", "2 instances corrected"),
    "by version 2.2": (adt("A08", P1, version="2.2"), "AA", "", "2 instances corrected"),
    "without a version": (adt("A08", P1, version=""), "AA", "", "2 instances corrected"),
    "segments that end with LF": (adt("A08", P1).replace(b"\r", b"\n"), "AA", "", "2 instances corrected"),
    "segments that end with CR LF": (adt("A08", P1).replace(b"\r", b"\r\n"), "AA", "", "2 instances corrected"),
    "segments of a site's own": (adt("A08", "ZPV|1|x", P1, "ZAL|y"), "AA", "", "2 instances corrected"),
    "Latin-1 that says so": (
        adt("A08", pid("P1^^^HOSP", "M\u00fcller^Zo\u00eb"), more="||||||8859/1").decode().encode("latin_1"),
        *("AA", "", "2 instances corrected"),
    ),
    "behind a byte order mark, as engines on Windows write it": (
        b"\xef\xbb\xbf" + adt("A08", P1),
        *("AA", "", "2 instances corrected"),
    ),
    "no CR at its end": (adt("A08", P1).rstrip(b"\r"), "AA", "", "2 instances corrected"),
    "empty lines, and a NUL behind": (
        adt("A08", P1).replace(b"\rPID", b"\r\r\r\nPID") + b"\r\n",
        *("AA", "", "2 instances corrected"),
    ),
    "separators of its own": (
        b"MSH$%*?/$ADT1$HOSPITAL$NEARFRAME$RAD$20261122080000$$ADT%A08$MSG-1$P$2.4\r"
        b"PID$1$$P1%%%HOSP%MR*900%%%SSA$$O?T?Doe%Jane$$19700101$F\r",
        *("AA", "", "2 instances corrected"),
    ),
    "a truncation character among the separators": (
        adt("A08", P1).replace(b"^~\\&|", b"^~\\&#|", 1),
        *("AA", "", "2 instances corrected"),
    ),
    "its event in EVN only": (
        message("ADT", "EVN|A08|20261122080000", P1, version="2.1"),
        *("AA", "", "2 instances corrected"),
    ),
    "an identifier twice, and empty repetitions": (
        adt("A08", pid("P1^^^HOSP^MR~~P1^^^HOSP^PI~")),
        *("AA", "", "2 instances corrected"),
    ),
    "parts of a name that are no more": (
        adt("A08", pid("P1^^^HOSP", 'DOE^JANET^""^""^""')),
        *("AA", "", "2 instances corrected"),
    ),
    "escaped separators in a name and in what nobody asks for": (
        adt("A08", pid("P1^^^HOSP", "Doe\\T\\Roe^Jane"), "OBX|1|TX|||a \\F\\ b \\X0D\\ \\C2842\\||||||F"),
        *("AA", "", "2 instances corrected"),
    ),
    "Japanese as Japanese systems name it": (
        adt("A08", pid("P1^^^HOSP", "Yamada^Hanako^^^^^L^A~山田^花子^^^^^L^I"), more="||||||~ISO IR87")
        .decode()
        .encode("iso2022_jp"),
        *("AA", "", "2 instances corrected"),
    ),
    "Japanese that says so": (
        adt("A08", pid("P1^^^HOSP", "Yamada^Hanako^^^^^L^A~山田^花子^^^^^L^I"), more="||||||ISO IR87")
        .decode()
        .encode("iso2022_jp"),
        *("AA", "", "2 instances corrected"),
    ),
    "a control id of 199 characters": (
        adt("A08", P1, control_id="MSG-1" + "X" * 193),
        *("AA", "", "2 instances corrected"),
    ),
    "demographics that are known": (adt("A08", pid("P1^^^HOSP", "Doe^Jane^^^^")), "AA", "", "everything held says so"),
    "a name with nothing to say": (adt("A08", pid("P1^^^HOSP", "", "", "U")), "AA", "", "everything held says so"),
    "an update as a large hospital system writes it": (
        message(
            "ADT^A08",
            "EVN|A08|20261122080000||REG_UPDATE|OPERATOR1^REGISTRAR^ANNA^^^^^^HOSP^^^^^8||",
            "PID|1|EXT-77|P1^^^HOSP^MR~900-11^^^SSA^SS~~4711^^^EMPI&1.2.276.0.9&ISO^PI||DOE^JANET^Q^^^^L~SMITH^JANET^^^^^M"
            "|ROE^ANNA^^|19700101|F|DOE^J^^^^^A|2106-3|1 ELM ST^APT 4^SPRINGFIELD^IL^62704^USA^P||(217)555-0100^PRN^PH|"
            "|ENG|M|CHR|V-100^^^HOSP^VN|900-11||||||||||N",
            "PD1|||CITY CLINIC^^10|1234^WELBY^MARCUS^^^^^^NPI",
            "NK1|1|DOE^JOHN^^|SPO|1 ELM ST^APT 4^SPRINGFIELD^IL^62704",
            "PV1|1|I|4E^401^1^HOSP^^^^^4 EAST|U|||1234^WELBY^MARCUS|5678^HOUSE^GREGORY||MED||||7||||IP|V-100",
            "OBX|1|NM|8302-2^BODY HEIGHT^LN||1.70|m|||||F",
            "AL1|1|DA|70618^PENICILLIN^FDB|SV|HIVES\\.br\\AND WORSE",
            "DG1|1||I63.9^Stroke \\T\\ TIA^I10|||A",
            "IN1|1|MC^MEDICARE|100|CENTERS FOR MEDICARE||||||||||||DOE^JANET^Q|SEL|19700101",
            version="2.3",
            more="|||AL|NE||||",
        ),
        *("CA", "", "2 instances corrected"),
    ),
    "an update as a German hospital writes it": (
        message(
            "ADT^A08^ADT_A01",
            "EVN|A08|202611220800||||202611220759",
            "PID|1||P1^^^HOSP^PI~K123456789^^^GKV^NIIP||Do\u00eb-M\u00fcller&von&Do\u00eb-M\u00fcller^Jan\u00e8t^^Gr\u00e4fin^Dr.^^L^A||19700101|F||"
            "|Hauptstra\u00dfe 1&Hauptstra\u00dfe&1^^K\u00f6ln^^50667^DE^L|||||||||||||||D||||N",
            "PV1|1|I|CHI^202^1^HOSP||||200^Haus^G.|||||||||||F-9^^^HOSP^VN",
            "ZBE|17^ORBIS|20261122075900||UPDATE",
            more="||||||8859/1|DE",
        )
        .decode()
        .encode("latin_1"),
        *("AA", "", "2 instances corrected"),
    ),
    "a merge as IHE PIX feeds write it": (
        message(
            "ADT^A40^ADT_A39",
            "EVN||20261122080000||||20261122075900",
            "PID|||P2^^^HOSP&1.2.276.0.76.3.1&ISO^PI||ROE^RICHARD^^^^^L||19650404|M",
            "PD1|||",
            "MRG|P1^^^HOSP&1.2.276.0.76.3.1&ISO^PI||||||DOE^JANE^^^^^L",
            "PV1||N",
        ),
        *("AA", "", "2 instances filed"),
    ),
    "a patient of whom nothing is held": (adt("A08", pid("P9^^^HOSP")), "AA", "", "nothing is held"),
    "the identifier of another issuer": (adt("A08", pid("P1^^^ELSEWHERE")), "AA", "", "nothing is held"),
    "an identifier of no issuer": (adt("A08", pid("P1")), "AA", "", "nothing is held"),
    "a merge": (adt("A40", *MERGE), "AA", "", "2 instances filed"),
    "a merge of version 2.3.1": (adt("A34", *MERGE, version="2.3.1"), "AA", "", "2 instances filed"),
    "a merge of nothing": (adt("A40", pid("P2^^^HOSP"), mrg("P3^^^HOSP")), "AA", "", "nothing is held"),
    "another identifier": (adt("A47", *MERGE), "AA", "", "2 instances filed"),
    "a patient with several prior identifiers, each in an MRG of its own": (
        adt("A40", pid("P2^^^HOSP^MR", "Roe^Richard"), mrg("P1^^^HOSP^MR"), mrg("P7^^^HOSP^MR")),
        *("AA", "", "2 instances filed"),
    ),
    "several prior identifiers in one MRG": (
        adt("A40", pid("P2^^^HOSP^MR", "Roe^Richard"), mrg("P7^^^HOSP^MR~P1^^^HOSP^MR")),
        *("AA", "", "2 instances filed"),
    ),
    "wrong, in enhanced mode": (adt("A08", pid(""), more="|||AL|NE"), "CE", "101 PID^1^3", "identifier"),
    "rejected, in enhanced mode": (adt("A24", P1, more="|||AL|AL"), "CR", "201 MSH^1^9", "event"),
    "no header": (b"EVN|A08\r" + P1.encode(), "AE", "100 MSH^1", "does not begin with MSH"),
    "nothing": (b"\r\n", "AE", "100 MSH^1", "does not begin with MSH"),
    "a file of messages": (b"FHS|^~\\&|ADT1\r" + adt("A08", P1), "AE", "100 FHS^1", "a batch"),
    "two messages in one frame": (adt("A08", P1) * 2, "AE", "100 MSH^2", "second message"),
    "separators that are no four": (adt("A08", P1).replace(b"^~\\&", b"^^\\&", 1), "AE", "102 MSH^1^2", "separators"),
    "bytes of another character set": (
        adt("A08", P1 + "|\u00e9").decode().encode("latin_1"),
        *("AE", "102 MSH^1^18", "byte"),
    ),
    "a character set of nobody": (adt("A08", P1, more="||||||EBCDIC"), "AE", "103 MSH^1^18", "character set"),
    "a control id of 200 characters": (
        adt("A08", P1, control_id="X" * 200),
        *("AE", "101 MSH^1^10", "control id"),
    ),
    "no control id": (adt("A08", P1, control_id=""), "AE", "101 MSH^1^10", "control id"),
    "version 3": (adt("A08", P1, version="3.0"), "AR", "203 MSH^1^12", "versions"),
    "a message of training": (adt("A08", P1).replace(b"|P|2.5.1", b"|T|2.5.1"), "AR", "202 MSH^1^11", "processing id"),
    "no processing id": (adt("A08", P1).replace(b"|P|2.5.1", b"||2.5.1"), "AR", "202 MSH^1^11", "processing id"),
    "an event that is not taken": (adt("A24", P1), "AR", "201 MSH^1^9", "event"),
    "an event of accounts": (adt("A35", P1), "AR", "201 MSH^1^9", "event"),
    "a type that is not taken": (message("ORU^R01", P1), "AR", "200 MSH^1^9", "type"),
    "no type": (message("", P1), "AR", "200 MSH^1^9", "type"),
    "a sender that is not known": (adt("A08", P1).replace(b"ADT1", b"ADT2"), "AE", "103 MSH^1^3", "hl7_senders"),
    "a sender that may not": (adt("A08", P1).replace(b"ADT1", b"RIS"), "AR", "200 MSH^1^9", "patients"),
    "no patient": (adt("A08"), "AE", "100 PID^1", "no PID"),
    "no identifier": (adt("A08", pid("")), "AE", "101 PID^1^3", "identifier"),
    "a date that is none": (adt("A08", pid("P1^^^HOSP", birth="1/1/70")), "AE", "102 PID^1^7", "YYYYMMDD"),
    "a sex that is none": (adt("A08", pid("P1^^^HOSP", sex="W")), "AE", "103 PID^1^8", "0001"),
    "a month that is none": (adt("A08", pid("P1^^^HOSP", birth="19701301")), "AE", "102 PID^1", "does not fit"),
    "a merge without MRG": (adt("A40", P1), "AE", "100 MRG^1", "no MRG"),
    "a merge onto itself": (adt("A40", P1, mrg("P1^^^HOSP^MR")), "AE", "205 MRG^1^1", "itself"),
    "a merge without a prior": (adt("A40", P1, mrg("^^^HOSP")), "AE", "101 MRG^1^1", "identifier"),
    "a merge across authorities": (adt("A40", pid("P2^^^X"), mrg("P1^^^HOSP")), "AE", "204 MRG^1^1", "same authority"),
    "one wrong merge of two": (
        adt("A40", *MERGE, pid("P4^^^HOSP"), mrg("P4^^^HOSP")),
        *("AE", "205 MRG^2^1", "itself"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive with a patient of each of two issuers; whoever corrects something undoes it."""
    with opened(tmp_path_factory.mktemp("stocked")) as archive:

        async def stock() -> None:
            await store(archive, ONE, patient("P1", "HOSP"))
            await store(archive, TWO, patient("P1", "CLINIC"))

        asyncio.run(stock())
        yield archive


@pytest.mark.parametrize("name", CORPUS)
def test_every_message_gets_its_answer(name: str, stocked: Archive) -> None:
    data, code, error, says = CORPUS[name]
    data = data.replace(b"MSG-1", b"MSG-%d" % [*CORPUS].index(name))
    before = len(stocked.made())
    (answer,) = stocked.send(data)
    made = stocked.made()[before:]
    # Said again, it is answered again, and nothing is done.
    (again,) = stocked.send(data)
    assert len(stocked.made()) == before + len(made)
    # The other issuer's patient is another patient, whatever is said of this one; of a wrong message nothing is done.
    assert stocked.patients(TWO) == {("P1", "CLINIC", "Doe^Jane")}
    for one in made:
        stocked.service.undo(local_admin(), one.id, "the next message is about the same")
    assert (answer["MSA"][1], says in answer["MSA"][3]) == (code, True), answer
    assert again["MSA"] == answer["MSA"]
    assert len(made) == (code in ("AA", "CA") and says.startswith("2 instances"))
    if error:
        condition, place = error.split()
        assert (answer["ERR"][2], answer["ERR"][3].split("^")[0]) == (place, condition)
    else:
        assert "ERR" not in answer


@pytest.mark.parametrize("kind", ["ACK^A08^ACK", "ACK", "MCF"])
def test_an_acknowledgement_is_not_acknowledged(kind: str, stocked: Archive) -> None:
    assert stocked.send(message(kind, "MSA|AR|MSG-1")) == []


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a message of the corpus with a few bytes gone, changed or added."""
    data = bytearray(CORPUS[draw(st.sampled_from(sorted(CORPUS)))][0])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        inserted = draw(st.binary(max_size=4) | st.sampled_from([b"|", b"^", b"~", b"\r", b"\\X4\\", b'""']))
        data[at : at + draw(st.integers(0, 12))] = inserted
    return bytes(data)


@given(damaged())
def test_a_damaged_message_is_answered_and_does_nothing_or_what_it_says(stocked: Archive, data: bytes) -> None:
    before = len(stocked.made())
    answers = stocked.send(data)
    codes = [answer["MSA"][1] for answer in answers]
    assert set(codes) <= {"AA", "AE", "AR", "CA", "CE", "CR"}
    made = stocked.made()[before:]
    assert not made or "AA" in codes or "CA" in codes or not codes
    for one in reversed(made):
        stocked.service.undo(local_admin(), one.id, "it was damaged")
    assert stocked.patients(TWO) == {("P1", "CLINIC", "Doe^Jane")}


async def test_what_an_update_writes(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    assert archive.code(adt("A08", pid("P1^^^HOSP", "Roe^Richard^^^^^L", "19700102", "M"), control_id="7")) == "AA"
    assert archive.patients(ONE) == {("P1", "HOSP", "Roe^Richard")}
    (made,) = archive.made()
    assert (made.principal, made.reason) == ("hl7 ADT1|HOSPITAL", "ADT^A08, message 7")
    assert set(made.detail["set"]) == {"PatientName", "PatientBirthDate", "PatientSex"}
    assert archive.code(adt("A08", pid("P1^^^HOSP", "Roe^Richard", '""', "M"), control_id="8")) == "AA"
    assert archive.made()[1].detail["set"] == {"PatientBirthDate": ""}


async def test_forms_of_a_name_that_are_not_given_stay(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP", "Doe^Jane=\u5c71\u7530"))
    assert archive.code(adt("A08", pid("P1^^^HOSP", "Doe^Jane"))) == "AA"
    assert archive.made() == []


async def test_a_merge_takes_over_who_stays(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    await store(archive, TWO, patient("P2", "HOSP", "Roe^Richard"))
    merged = adt("A40", pid("P2^^^HOSP", "Typo^In Message"), mrg("P1^^^HOSP"))
    assert archive.code(merged) == "AA"
    assert archive.patients(ONE) == archive.patients(TWO) == {("P2", "HOSP", "Roe^Richard")}


async def test_another_identifier_leaves_the_name(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    assert archive.code(adt("A47", pid("P2^^^HOSP", "Roe^Richard"), mrg("P1^^^HOSP"))) == "AA"
    assert archive.patients(ONE) == {("P2", "HOSP", "Doe^Jane")}


async def test_messages_about_one_of_two_patients_in_a_study_leave_the_other_alone(archive: Archive) -> None:
    mine, others = ct_series(2, change=patient("P1", "HOSP")), ct_series(2, series=2, change=patient("P2", "HOSP"))
    for files in (others, mine):  # filed under the patient who came last
        assert not (await archive.node.store(*files)).failed
    both = {("P1", "HOSP", "Doe^Jane"), ("P2", "HOSP", "Doe^Jane")}
    assert archive.patients(STUDY_UID) == both
    for number, (data, becomes) in enumerate(
        (
            (adt("A08", pid("P1^^^HOSP", "Roe^Richard")), ("P1", "HOSP", "Roe^Richard")),
            (adt("A40", pid("P9^^^HOSP", "Roe^Richard"), mrg("P1^^^HOSP")), ("P9", "HOSP", "Roe^Richard")),
            (adt("A47", pid("P9^^^HOSP"), mrg("P1^^^HOSP")), ("P9", "HOSP", "Doe^Jane")),
        )
    ):
        assert archive.code(data.replace(b"MSG-1", b"MSG-%d" % number)) == "AA"
        assert archive.patients(STUDY_UID) == {becomes, ("P2", "HOSP", "Doe^Jane")}
        made = archive.made()[-1]
        assert made.instances == 2
        archive.service.undo(local_admin(), made.id, "the next message is about the same")
        assert archive.patients(STUDY_UID) == both
    for file in (*mine, *others):
        assert archive.node.file(archive.node.catalogue.find_instance("main", instance_uid(file))) == file


async def test_an_identifier_that_is_in_use_again_flags_nothing(archive: Archive) -> None:
    archive.code(adt("A40", pid("P2^^^HOSP"), mrg("P1^^^HOSP")))
    await store(archive, ONE, patient("P1", "HOSP"))
    assert len(archive.strays()) == 1
    apart = read_asked({"action": "apart", "reason": "given out again", "patient": {"id": "P1", "issuer": "HOSP"}})
    assert archive.service.plan(local_admin(), apart) == []
    made = archive.service.make(local_admin(), apart)
    assert archive.strays() == []
    assert (made.action, made.instances, made.reason) == ("apart", 0, "given out again")
    assert archive.patients(ONE) == {("P1", "HOSP", "Doe^Jane")}
    with pytest.raises(NotFound):
        archive.service.make(local_admin(), apart)
    with pytest.raises(Conflict, match="merge the patients"):
        archive.service.undo(local_admin(), made.id, "one after all")


async def test_several_merges_in_one_message(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    await store(archive, TWO, patient("P2", "HOSP"))
    await store(archive, THREE, patient("P3", "HOSP"))
    groups = (pid("P3^^^HOSP"), mrg("P1^^^HOSP"), pid("P3^^^HOSP"), mrg("P2^^^HOSP"))
    assert archive.code(adt("A40", *groups)) == "AA"
    assert {found for study in (ONE, TWO, THREE) for found, _, _ in archive.patients(study)} == {"P3"}
    assert [made.action for made in archive.made()] == ["merge", "merge"]


async def test_a_merge_of_what_the_message_merged_before(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    groups = (pid("P2^^^HOSP"), mrg("P1^^^HOSP"), pid("P3^^^HOSP"), mrg("P2^^^HOSP"))
    assert archive.code(adt("A40", *groups)) == "AA"
    assert {found for found, _, _ in archive.patients(ONE)} == {"P3"}
    assert archive.strays() == []


async def test_an_authority_may_have_several_names_in_images(archive: Archive) -> None:
    await store(archive, ONE, patient("P1"))
    await store(archive, TWO, patient("P1", "Main Hospital"))
    await store(archive, THREE, patient("P1", "CLINIC"))
    assert archive.code(adt("A08", pid("P1^^^MAIN", "Roe^Richard"))) == "AA"
    assert {name for study in (ONE, TWO) for _, _, name in archive.patients(study)} == {"Roe^Richard"}
    assert archive.patients(THREE) == {("P1", "CLINIC", "Doe^Jane")}
    assert archive.code(adt("A40", pid("P5^^^MAIN"), mrg("P1^^^MAIN"), control_id="2")) == "AA"
    assert archive.strays() == []
    assert {found for study in (ONE, TWO) for found, _, _ in archive.patients(study)} == {"P5"}


async def test_what_comes_later_under_the_old_identifier_is_flagged_and_left_as_it_came(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    merge = adt("A40", pid("P2^^^HOSP"), mrg("P1^^^HOSP"))
    assert archive.code(merge) == "AA"
    assert archive.strays() == []
    await store(archive, TWO, patient("P1", "HOSP"), count=3)
    (stray,) = archive.strays()
    assert (stray.study_instance_uid, stray.instances) == (TWO, 3)
    assert (stray.names.id, stray.belongs_to.id) == ("P1", "P2")
    assert archive.patients(TWO) == {("P1", "HOSP", "Doe^Jane")}
    # Merged once more, by another message, it is where it belongs.
    assert archive.code(adt("A40", pid("P2^^^HOSP"), mrg("P1^^^HOSP"), control_id="2")) == "AA"
    assert archive.strays() == []


async def test_a_merge_of_what_is_still_to_come_is_remembered(archive: Archive) -> None:
    assert archive.code(adt("A40", pid("P2^^^HOSP"), mrg("P1^^^HOSP"))) == "AA"
    await store(archive, ONE, patient("P1", "HOSP"))
    assert [stray.study_instance_uid for stray in archive.strays()] == [ONE]
    # The way back: what stays is no stray.
    assert archive.code(adt("A40", pid("P1^^^HOSP"), mrg("P2^^^HOSP"), control_id="2")) == "AA"
    assert archive.strays() == []


async def test_a_merge_that_is_undone_flags_nothing(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    archive.code(adt("A40", pid("P2^^^HOSP"), mrg("P1^^^HOSP")))
    (made,) = archive.made()
    undone = archive.service.undo(local_admin(), made.id, "these are two")
    assert archive.strays() == []
    archive.service.undo(local_admin(), undone.id, "no, one")
    await store(archive, TWO, patient("P1", "HOSP"))
    assert [stray.study_instance_uid for stray in archive.strays()] == [TWO]


async def test_the_same_control_id_is_the_same_message_only_if_it_says_the_same(archive: Archive) -> None:
    await store(archive, ONE, patient("P1", "HOSP"))
    first, second = (adt("A08", pid("P1^^^HOSP", name)) for name in ("Roe^Richard", "Roe^Rich"))
    assert [archive.code(one) for one in (first, first.replace(b"0800", b"0801"), second, first)] == ["AA"] * 4
    # The third is another message by a counter that began anew, and so is the fourth.
    assert len(archive.made()) == 3
    (remembered,) = archive.known.latest("main", 10)
    assert (remembered.sender, remembered.control_id, remembered.code) == ("ADT1|HOSPITAL", "MSG-1", "AA")


async def test_what_was_done_and_not_remembered_is_not_done_twice(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise BackendFailed("the catalogue's database failed")

    await store(archive, ONE, patient("P1", "HOSP"))
    with monkeypatch.context() as patch:
        patch.setattr(archive.known, "note", fail)
        assert archive.code(adt("A40", *MERGE)) == "AR"
    assert archive.patients(ONE) == {("P2", "HOSP", "Roe^Richard")}
    assert archive.code(adt("A40", *MERGE)) == "AA"
    assert len(archive.made()) == 1


@pytest.mark.parametrize("failure", [Busy("what is to be corrected changed each time"), ZeroDivisionError()])
async def test_what_failed_is_tried_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def busy(*arguments: object) -> None:
        raise failure

    await store(archive, ONE, patient("P1", "HOSP"))
    data = adt("A08", pid("P1^^^HOSP", "Roe^Richard"))
    with monkeypatch.context() as patch:
        patch.setattr(archive.service, "make", busy)
        (answer,) = archive.send(data)
    assert (answer["MSA"][1], answer["ERR"][3]) == ("AR", "207^Application internal error^HL70357")
    assert archive.code(data) == "AA"
    assert archive.patients(ONE) == {("P1", "HOSP", "Roe^Richard")}


@pytest.mark.parametrize("cut", list(Cut))
async def test_a_message_that_is_not_whole_is_rejected_by_its_name(archive: Archive, cut: Cut) -> None:
    (answer,) = archive.send(b"", Frame(adt("A08", P1)[:90], cut))
    assert answer["MSA"][1:3] == ["AR", "MSG-1"]
    assert archive.node.metrics.value(HL7_MESSAGES, event="ADT^A08", code="AR") == 1
