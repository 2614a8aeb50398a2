"""The catalogue against a naive model: any order of storing, deleting and resolving."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nearframe.context import local_admin
from nearframe.dicom.levels import Level
from nearframe.errors import NotFound
from nearframe.query.search import SearchService
from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.ports import Outcome, StudyRef, Totals
from tests.unit.storage.catalogue.objects import frame_table, identity, version

STUDIES = (1, 2)
SERIES = (1, 2)
_numbers = st.integers(1, 3)


@dataclass
class Stored:
    """A version as the model knows it: number, header, pixels, place."""

    number: int
    header: str
    pixels: str
    study: int
    series: int


@dataclass
class Instance:
    versions: list[Stored] = field(default_factory=list)
    current: Stored | None = None
    last_number: int = 0
    conflicts: list[int] = field(default_factory=list)


#: What a study shows: SOP Instance UID and version, by series.
State = list[tuple[str, str, int]]


class CatalogueMachine(RuleBasedStateMachine):
    """Does the same to a catalogue and to dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.catalogue = open_catalogue(Path(self._folder.name, "catalogue.sqlite"))
        self.search = SearchService(self.catalogue)
        self.instances: dict[int, Instance] = {}
        self.seen: dict[tuple[int, int], State] = {}

    def teardown(self) -> None:
        self.catalogue.close()
        self._folder.cleanup()

    @rule(
        number=_numbers,
        study=st.sampled_from(STUDIES),
        series=st.sampled_from(SERIES),
        header=st.sampled_from("ab"),
        pixels=st.sampled_from("xy"),
    )
    def record(self, number: int, study: int, series: int, header: str, pixels: str) -> None:
        uids = replace(identity(study, series), sop_instance_uid=f"1.2.9.{number}")
        new = version(uids, frames=frame_table(pixels), header=header, t00100010=f"{header}^{pixels}")
        [recorded] = self.catalogue.record([new])
        instance = self.instances.setdefault(number, Instance())
        wanted = Stored(instance.last_number + 1, header, pixels, study, series)
        for held in instance.versions:
            if replace(held, number=wanted.number) == wanted:
                assert (recorded.outcome, recorded.version) == (Outcome.REPEATED, held.number)
                return
        instance.versions.append(wanted)
        instance.last_number = wanted.number
        assert recorded.version == wanted.number
        if instance.current is None or instance.current.pixels == pixels:
            assert recorded.outcome is (Outcome.CREATED if instance.current is None else Outcome.REVISED)
            instance.current = wanted
        else:
            assert recorded.outcome is Outcome.CONFLICTING
            instance.conflicts.append(wanted.number)

    @rule(study=st.sampled_from(STUDIES), series=st.none() | st.sampled_from(SERIES), number=st.none() | _numbers)
    def delete(self, study: int, series: int | None, number: int | None) -> None:
        gone = {
            one: instance
            for one, instance in self.instances.items()
            if instance.current is not None
            and instance.current.study == study
            and series in (None, instance.current.series)
            and number in (None, one)
        }
        series_uid = None if series is None else f"1.2.{study}.{series}"
        sop_uid = None if number is None else f"1.2.9.{number}"
        if not gone:
            with pytest.raises(NotFound):
                self.catalogue.delete(StudyRef("main", f"1.2.{study}"), series_uid, sop_uid)
            return
        removed = self.catalogue.delete(StudyRef("main", f"1.2.{study}"), series_uid, sop_uid)
        assert len(removed) == sum(len(instance.versions) for instance in gone.values())
        for one, instance in gone.items():
            self.instances[one] = Instance(last_number=instance.last_number)

    @rule(number=_numbers, keep=st.sampled_from(["current", "incoming"]))
    def resolve(self, number: int, keep: str) -> None:
        instance = self.instances.get(number)
        if instance is None or not instance.conflicts:
            return
        chosen = instance.conflicts.pop(0)
        [conflict] = [
            one
            for one in self.catalogue.conflicts("main")
            if one.identity.sop_instance_uid == f"1.2.9.{number}" and one.version == chosen
        ]
        self.catalogue.resolve_conflict(conflict.id, keep, "somebody")
        if keep == "incoming":
            [instance.current] = [held for held in instance.versions if held.number == chosen]

    def shown(self, study: int) -> State:
        return sorted(
            (f"1.2.{study}.{instance.current.series}", f"1.2.9.{number}", instance.current.number)
            for number, instance in self.instances.items()
            if instance.current is not None and instance.current.study == study
        )

    def listed(self, study: int, at_seq: int | None = None) -> State:
        found = self.catalogue.list_instances(StudyRef("main", f"1.2.{study}"), at_seq=at_seq)
        return sorted((r.identity.series_instance_uid, r.identity.sop_instance_uid, r.version) for r in found)

    @invariant()
    def shows_what_the_model_shows(self) -> None:
        for study in STUDIES:
            assert self.listed(study) == self.shown(study)
        for number, instance in self.instances.items():
            versions = self.catalogue.list_versions("main", f"1.2.9.{number}")
            assert [held.number for held in instance.versions] == [one.version for one in versions]
            current = [one.version for one in versions if one.is_current]
            assert current == ([] if instance.current is None else [instance.current.number])

    @invariant()
    def every_earlier_state_is_still_there(self) -> None:
        for study in STUDIES:
            with suppress(NotFound):
                self.seen[study, self.catalogue.state(StudyRef("main", f"1.2.{study}"))] = self.shown(study)
        for (study, seq), state in self.seen.items():
            assert self.listed(study, at_seq=seq) == state

    @invariant()
    def feed_and_totals_agree(self) -> None:
        entries = self.catalogue.feed(None, 100)
        assert [entry.seq for entry in entries] == sorted({entry.seq for entry in entries})
        alive = {entry.study_instance_uid for entry in entries if not entry.deleted}
        assert alive == {f"1.2.{study}" for study in STUDIES if self.shown(study)}
        count = sum(len(self.shown(study)) for study in STUDIES)
        assert self.catalogue.totals() == Totals(len(alive), count)

    @invariant()
    def searches_agree(self) -> None:
        rows = json.loads(self.search.search(local_admin(), Level.STUDY, []).render(""))
        counts = {row["0020000D"]["Value"][0]: row["00201208"]["Value"][0] for row in rows}
        assert counts == {f"1.2.{study}": len(shown) for study in STUDIES if (shown := self.shown(study))}
        for row in rows:
            shown = self.shown(int(row["0020000D"]["Value"][0].rpartition(".")[2]))
            assert row["00201206"]["Value"] == [len({series for series, _, _ in shown})]
            family, _, given = row["00100010"]["Value"][0]["Alphabetic"].partition("^")
            current = [i.current for i in self.instances.values() if i.current is not None]
            assert (family, given) in {(one.header, one.pixels) for one in current}


TestCatalogueMachine = CatalogueMachine.TestCase
TestCatalogueMachine.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)
