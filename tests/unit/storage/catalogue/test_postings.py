"""Where a search begins, on every database."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from nearframe.storage.catalogue import SQLCatalogue, postings, schema
from nearframe.storage.catalogue.criteria import Criterion, Name, Pattern, Test, Text, UIDs
from nearframe.storage.catalogue.prepared import Prepared
from tests.unit.storage.catalogue.objects import CT_IMAGE, identity, version

STUDIES = 12
NAME, MODALITIES, SOP_CLASSES, DESCRIPTION = "00100010", "00080061", "00080062", "00081030"


@pytest.fixture
def filled(catalogue: SQLCatalogue) -> SQLCatalogue:
    """Twelve studies of which one is a knee, and two are MR."""
    catalogue.record(
        [
            version(
                identity(number),
                t00100010=f"Smith{'abcdefghijkl'[number - 1]}^John",
                t00100020=f"MRN-{number:03}",
                t00080060="MR" if number < 3 else "CT",
                t00081030="Knee" if number == 7 else "Head",
            )
            for number in range(1, STUDIES + 1)
        ]
    )
    return catalogue


def begins_with(catalogue: SQLCatalogue, *criteria: tuple[str, Test], limit: int = 1) -> set[int] | None:
    """Return the numbers of the studies a search would test, None if it walks from the newest."""
    with catalogue.database.read() as connection:
        wanted = [Criterion((tag,), test) for tag, test in criteria]
        posting = postings.narrowest(connection, "main", wanted, limit)
        if posting is None:
            return None
        uid = schema.study.c.study_instance_uid
        found = connection.execute(sa.select(uid).where(schema.study.c.id.in_(posting))).scalars()
        return {int(text.rpartition(".")[2]) for text in found}


def text(*patterns: str) -> Text:
    return Text(tuple(Pattern(pattern) for pattern in patterns), folded=True)


def name(*patterns: str, words: tuple[str, ...] = ()) -> Name:
    return Name((tuple(Pattern(pattern) for pattern in patterns),), words)


def test_a_rare_criterion_is_looked_up(filled: SQLCatalogue) -> None:
    assert begins_with(filled, (DESCRIPTION, text("*knee*"))) == {7}
    assert begins_with(filled, (NAME, name("smithc*"))) == {3}
    assert begins_with(filled, (NAME, name("*ithc^jo*"))) == {3}
    assert begins_with(filled, (NAME, name("smithc^john"))) == {3}
    assert begins_with(filled, ("00100020", text("MRN-004"))) == {4}
    assert begins_with(filled, ("00100020", text("*004"))) == {4}
    assert begins_with(filled, (MODALITIES, text("MR"))) == {1, 2}


def test_nothing_is_the_rarest(filled: SQLCatalogue) -> None:
    assert begins_with(filled, (DESCRIPTION, text("*hip*"))) == set()
    assert begins_with(filled, (MODALITIES, text("XA"))) == set()


def test_a_common_criterion_is_met_sooner_by_walking(filled: SQLCatalogue) -> None:
    assert begins_with(filled, (DESCRIPTION, text("*head*"))) is None
    assert begins_with(filled, (MODALITIES, text("CT"))) is None
    # With a whole page to fill, a walk would be long.
    assert begins_with(filled, (MODALITIES, text("CT")), limit=100) == set(range(3, 13))


def test_the_rarest_of_several_leads(filled: SQLCatalogue) -> None:
    assert begins_with(filled, (MODALITIES, text("CT")), (DESCRIPTION, text("*knee*")), (NAME, name("s*"))) == {7}


def test_alternatives_are_all_looked_up(filled: SQLCatalogue) -> None:
    assert begins_with(filled, ("00100020", text("MRN-004", "MRN-00?", "*-005")), limit=100) == set(range(1, 10))
    assert begins_with(filled, (MODALITIES, text("MR", "XA"))) == {1, 2}
    # Smithg, Smithj and Smithk sound like Smithc.
    assert begins_with(filled, (NAME, name("*zzz*", words=("smithc",))), limit=100) == {3, 7, 10, 11}


@pytest.mark.parametrize(
    ("tag", "test"),
    [
        (NAME, name("*s*")),
        (NAME, name("*zzz*", "*s*")),
        (DESCRIPTION, text("k?e*")),
        (MODALITIES, text("M*")),
        ("0020000D", UIDs(("1.2.1",))),
        ("00080020", text("x")),
    ],
)
def test_what_cannot_be_looked_up(filled: SQLCatalogue, tag: str, test: Test) -> None:
    assert begins_with(filled, (tag, test)) is None


def test_sop_classes(filled: SQLCatalogue) -> None:
    assert begins_with(filled, (SOP_CLASSES, UIDs((CT_IMAGE, "1.2.3"))), limit=100) == set(range(1, 13))


def test_items_of_sequences_are_not_looked_up(filled: SQLCatalogue) -> None:
    with filled.database.read() as connection:
        criterion = Criterion(("00400275", DESCRIPTION), text("knee"))
        assert postings.narrowest(connection, "main", [criterion], 1) is None


def test_another_tenant_has_other_terms(filled: SQLCatalogue) -> None:
    with filled.database.read() as connection:
        posting = postings.narrowest(connection, "other", [Criterion((DESCRIPTION,), text("*knee*"))], 1)
        assert posting is not None
        assert connection.execute(posting).all() == []


def test_a_study_that_changes_changes_its_terms(filled: SQLCatalogue) -> None:
    filled.record([version(identity(7), t00100010="Roe^Jane", t00100020="MRN-007", t00081030="Hip")])
    assert begins_with(filled, (DESCRIPTION, text("*knee*"))) == set()
    assert begins_with(filled, (DESCRIPTION, text("*hip*"))) == {7}
    filled.delete(version(identity(7)).study, None, None)
    assert begins_with(filled, (DESCRIPTION, text("*hip*"))) == set()
    with filled.database.read() as connection:
        left = connection.execute(sa.select(sa.func.count()).where(schema.term.c.value == "roe^jane")).scalar()
    assert left == 0


def test_all_ways_to_begin_are_counted_by_one_statement(filled: SQLCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    rows = Prepared.rows

    def counted(self: Prepared, connection: sa.Connection, **values: Any) -> list[dict[str, Any]]:
        asked.append(values)
        return rows(self, connection, **values)

    monkeypatch.setattr(Prepared, "rows", counted)
    assert begins_with(filled, (NAME, name("*ithc^jo*"))) == {3}
    assert len(asked) == 1


def test_more_values_than_one_statement_counts(filled: SQLCatalogue) -> None:
    values = [f"MRN-{number:03}" for number in range(1, 3 * postings._COUNTED_TOGETHER)]
    assert begins_with(filled, ("00100020", text(*values)), limit=100) == set(range(1, STUDIES + 1))
