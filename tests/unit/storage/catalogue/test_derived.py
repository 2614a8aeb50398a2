"""Renditions and perceptual hashes in the catalogue."""

from __future__ import annotations

from dataclasses import replace

from nearframe.ids import Identity, sha256
from nearframe.storage.catalogue.catalogue import SQLCatalogue
from nearframe.storage.ports import PerceptualRow, Rendition, StudyRef
from nearframe.wire.frametable import FrameTable
from tests.unit.storage.catalogue.objects import frame_table, identity, study_ref, version

HTJ2K = "1.2.840.10008.1.2.4.202"


def hashes_of(uids: Identity, frames: FrameTable, number: int = 1, tenant: str = "main") -> list[PerceptualRow]:
    return [
        PerceptualRow(
            study=StudyRef(tenant, uids.study_instance_uid),
            identity=uids,
            version=number,
            frame_index=index,
            enc=enc,
            pix=frames.pix_of(index),
            hash=bytes([index]) * 32,
            quality=50,
            modality="CT",
            length=length,
        )
        for index, (enc, length) in enumerate(frames)
    ]


def test_a_rendition_takes_the_place_of_an_earlier_one(catalogue: SQLCatalogue) -> None:
    first = Rendition(sha256(b"frame"), HTJ2K, sha256(b"one"), 10, (2, 5, 10))
    catalogue.add_renditions("main", [first])
    assert catalogue.rendition("main", first.source, HTJ2K) == first
    second = replace(first, digest=sha256(b"two"))
    catalogue.add_renditions("main", [second])
    assert catalogue.rendition("main", first.source, HTJ2K) == second
    assert catalogue.rendition("other", first.source, HTJ2K) is None


def test_hashes_of_a_patient(catalogue: SQLCatalogue) -> None:
    frames = frame_table("a", "b")
    mine, prior, stranger = identity(1), identity(2), identity(3)
    catalogue.record([version(uids, frames=frames) for uids in (mine, prior)])
    catalogue.record([version(stranger, frames=frames, t00100020="P2")])
    for uids in (mine, prior, stranger):
        catalogue.add_hashes(hashes_of(uids, frames))
    assert catalogue.hashes(study_ref(1)) == hashes_of(mine, frames) + hashes_of(prior, frames)


def test_hashes_of_a_tenant_and_whose_they_are(catalogue: SQLCatalogue) -> None:
    frames = frame_table("a", "b")
    patients = {1: "P1", 2: "P1", 3: "P2", 4: "", 5: ""}
    for study, patient in patients.items():
        catalogue.record([version(identity(study), frames=frames, t00100020=patient)])
        catalogue.add_hashes(hashes_of(identity(study), frames))
    catalogue.record([version(identity(6), tenant="other")])
    rows, scopes = catalogue.tenant_hashes("main")
    assert len(rows) == catalogue.count_tenant_hashes("main") == 10
    assert scopes["1.2.1"] == scopes["1.2.2"]
    assert len({scopes[f"1.2.{study}"] for study in patients}) == 4, "without an ID, a study is its own patient"
    assert catalogue.count_tenant_hashes("other") == 0


def test_only_current_versions_are_shown(catalogue: SQLCatalogue) -> None:
    frames = frame_table("a")
    catalogue.record([version(frames=frames), version(frames=frames, header="corrected")])
    catalogue.add_hashes(hashes_of(identity(), frames, 1) + hashes_of(identity(), frames, 2))
    assert [row.version for row in catalogue.hashes(study_ref())] == [2]


def test_the_hashes_of_a_study_are_forgotten(catalogue: SQLCatalogue) -> None:
    frames = frame_table("a")
    catalogue.record([version(frames=frames), version(frames=frames, header="corrected"), version(identity(2))])
    catalogue.add_hashes(hashes_of(identity(), frames, 1) + hashes_of(identity(), frames, 2))
    catalogue.add_hashes(hashes_of(identity(2), frame_table("a", "b"))[:1])
    assert set(catalogue.hashed_studies("main")) == {study_ref(1), study_ref(2)}
    catalogue.forget_hashes(study_ref(1))
    assert catalogue.hashed_studies("main") == [study_ref(2)]
    assert catalogue.hashed_studies("other") == []


def test_hashes_of_one_version_given_twice(catalogue: SQLCatalogue) -> None:
    frames = frame_table("a", "b")
    catalogue.record([version(frames=frames)])
    catalogue.add_hashes(hashes_of(identity(), frames) * 2)
    assert len(catalogue.hashes(study_ref())) == 2


def test_hashes_of_a_version_that_is_not_there_are_left_out(catalogue: SQLCatalogue) -> None:
    catalogue.add_hashes(hashes_of(identity(), frame_table("a")))
    assert catalogue.hashes(study_ref()) == []


def test_pix_found_later_reaches_the_hashes_in_either_order(catalogue: SQLCatalogue) -> None:
    bare, known = frame_table("a", "b", pix=(None, None)), frame_table("a", "b")
    for study in (1, 2):
        catalogue.record([version(identity(study), frames=bare)])
    catalogue.add_hashes(hashes_of(identity(1), bare))
    for study in (1, 2):
        catalogue.set_pix("main", identity(study).sop_instance_uid, 1, known)
    catalogue.add_hashes(hashes_of(identity(2), bare))
    rows = catalogue.hashes(study_ref(1))
    assert [row.pix for row in rows] == [known.pix_of(index) for index in (0, 1)] * 2
