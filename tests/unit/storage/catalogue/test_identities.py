"""Identifiers that were merged away, on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import MergedIdentity, PatientIdentity, Revision
from tests.unit.storage.catalogue.objects import RECEIVED, identity, version
from tests.unit.storage.catalogue.test_corrections import new, renamed

P1, P2, P3 = (PatientIdentity(name, "HOSP") for name in ("P1", "P2", "P3"))


def of(patient: PatientIdentity) -> dict[str, Any]:
    return {"t00100020": patient.id, "t00100021": patient.issuer}


def strays(corrections: Corrections) -> list[tuple[str, str, str]]:
    found = corrections.identities.strays("main")
    return [(one.study_instance_uid, one.names.id, one.belongs_to.id) for one in found]


def test_what_comes_under_an_identifier_that_was_given_up(catalogue: SQLCatalogue) -> None:
    corrections = Corrections(catalogue)
    catalogue.record([version(identity(study=number), **of(one)) for number, one in ((1, P1), (2, P2))])
    catalogue.record([version(identity(study=3), **of(replace(P1, issuer="CLINIC")))])
    corrections.identities.note("main", [MergedIdentity(P1, P2), MergedIdentity(P3, P2)], RECEIVED)
    assert strays(corrections) == [("1.2.1", "P1", "P2")]
    assert corrections.identities.strays("other") == []
    corrections.identities.note("main", [MergedIdentity(P2, P1)], RECEIVED)
    assert strays(corrections) == [("1.2.2", "P2", "P1")]


def test_a_merge_counts_while_it_is_not_undone(catalogue: SQLCatalogue) -> None:
    corrections = Corrections(catalogue)
    catalogue.record([version(identity(study=1), **of(P1))])
    merged = replace(new("merge"), merged=MergedIdentity(P1, P2))
    revision = Revision(identity(study=1).sop_instance_uid, 1, renamed(identity(study=1), **of(P2)))
    made = corrections.make(merged, [revision])
    assert made is not None
    assert strays(corrections) == []
    catalogue.record([version(identity(study=4), **of(P1))])
    assert strays(corrections) == [("1.2.4", "P1", "P2")]
    corrections.identities.note("main", [MergedIdentity(P1, P2)], RECEIVED)  # the same said again
    undone = corrections.undo(made.id, new("undo"))
    assert strays(corrections) == []
    corrections.undo(undone.id, new("undo"))
    assert strays(corrections) == [("1.2.4", "P1", "P2")]
