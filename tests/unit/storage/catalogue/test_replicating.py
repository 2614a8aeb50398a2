"""Beside what the upstream decided: what was taken in here and it has not decided on."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from nearframe.ids import Digest
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.ports import NewVersion, Recorded
from tests.unit.storage.catalogue.objects import frame_table, identity, study_ref, version

SOP = identity().sop_instance_uid
STUDY = study_ref()


def named(name: str, **more: object) -> NewVersion:
    return version(t00100010=name, **more)  # type: ignore[arg-type]


def shown(catalogue: SQLCatalogue) -> list[tuple[str, int]]:
    """Return name and version number of each instance in view."""
    records = catalogue.list_instances(STUDY)
    rows = catalogue.metadata(STUDY)
    return [
        (json.loads(text)["00100010"]["Value"][0]["Alphabetic"], record.version)
        for record, (_, text) in zip(records, rows, strict=True)
    ]


def upstream_shows(catalogue: SQLCatalogue) -> list[tuple[Digest, int]] | None:
    found = catalogue.replica(STUDY)
    return None if found is None else [(record.file, record.version) for record, _ in found]


def test_a_study_without_anything_local_is_the_upstreams(catalogue: SQLCatalogue) -> None:
    catalogue.replicate([(version(), 1, True)], [])
    assert not catalogue.holds_local(STUDY)
    assert catalogue.replica(STUDY) is None
    assert catalogue.taken_in(0, 10) == []


def test_a_pull_that_lacks_it_does_not_withdraw_it(catalogue: SQLCatalogue) -> None:
    theirs, ours = version(), version(identity(1, 1, 2))
    catalogue.replicate([(theirs, 1, True)], [])
    catalogue.record([ours])
    assert upstream_shows(catalogue) == [(theirs.file, 1)]
    catalogue.replicate([(named("Roe^Jane"), 2, True)], [(STUDY, ours.identity.sop_instance_uid)])
    assert shown(catalogue) == [("Roe^Jane", 2), ("Doe^Jane", 1)]
    assert [one.file for one in catalogue.taken_in(0, 10)] == [ours.file]


def test_a_header_of_here_stays_before_one_of_there_until_it_is_settled(catalogue: SQLCatalogue) -> None:
    catalogue.replicate([(version(), 1, True)], [])
    ours, theirs = named("Poe^Jane"), named("Roe^Jane")
    catalogue.record([ours])
    catalogue.replicate([(theirs, 2, True)], [])
    assert shown(catalogue) == [("Poe^Jane", 3)]
    assert upstream_shows(catalogue) == [(theirs.file, 2)]
    # It came there as version 3: later than theirs, and so it is current.
    catalogue.replicate([(ours, 3, True)], [], {"main": {(SOP, ours.file): 3}})
    assert shown(catalogue) == [("Poe^Jane", 3)]
    assert not catalogue.holds_local(STUDY)
    assert [record.version for record in catalogue.list_versions("main", SOP)] == [1, 2, 3]


def test_numbers_agree_once_all_is_settled(catalogue: SQLCatalogue) -> None:
    first, second = named("A"), named("B")
    assert [one.version for one in catalogue.record([first, second])] == [1, 2]
    # There somebody else was first, with a version that is not known here.
    catalogue.replicate([(second, 3, True)], [], {"main": {(SOP, first.file): 2, (SOP, second.file): 3}})
    found = {record.file: record.version for record in catalogue.list_versions("main", SOP)}
    assert found == {first.file: 2, second.file: 3}
    assert shown(catalogue) == [("B", 3)]


def test_seen_there_before_the_answer_was_noted(catalogue: SQLCatalogue) -> None:
    ours = named("A")
    catalogue.record([ours])
    catalogue.replicate([(ours, 4, True)], [])
    assert shown(catalogue) == [("A", 4)]
    assert [record.version for record in catalogue.list_versions("main", SOP)] == [4]
    assert not catalogue.holds_local(STUDY)


@pytest.mark.parametrize("is_settled", [False, True])
def test_other_pixels_of_the_upstream_win_and_ours_is_flagged(catalogue: SQLCatalogue, is_settled: bool) -> None:
    ours, theirs = version(frames=frame_table("ours")), version(frames=frame_table("theirs"))
    catalogue.record([ours])
    settled = {"main": {(SOP, ours.file): 2}} if is_settled else {}
    catalogue.replicate([(theirs, 1, True)], [], settled)
    assert catalogue.find_instance("main", SOP).file == theirs.file
    assert catalogue.find_instance("main", SOP, version=2).file == ours.file
    [conflict] = catalogue.conflicts("main")
    assert (conflict.version, conflict.current_version) == (2, 1)
    assert catalogue.holds_local(STUDY) is not is_settled


def test_a_study_removed_there_keeps_what_is_here_alone(catalogue: SQLCatalogue) -> None:
    catalogue.replicate([(version(), 1, True)], [])
    ours = version(identity(1, 1, 2))
    catalogue.record([ours])
    catalogue.replicate([], [(STUDY, SOP), (STUDY, ours.identity.sop_instance_uid)])
    assert [record.file for record in catalogue.list_instances(STUDY)] == [ours.file]
    # Once it was there, its removal there counts.
    catalogue.replicate([], [(STUDY, "1.2.1.1.2")], {"main": {(ours.identity.sop_instance_uid, ours.file): 1}})
    catalogue.replicate([], [(STUDY, ours.identity.sop_instance_uid)])
    assert catalogue.list_instances(STUDY) == []


def test_metadata_told_anew_for_the_same_file_is_taken_over(catalogue: SQLCatalogue) -> None:
    told = version()
    catalogue.replicate([(told, 1, True)], [])
    catalogue.replicate([(replace(named("Roe^Jane"), hdr=told.hdr, file=told.file), 1, True)], [])
    assert shown(catalogue) == [("Roe^Jane", 1)]


def test_events_name_the_file(catalogue: SQLCatalogue) -> None:
    ours = version()
    catalogue.outbox("test", 0)
    assert catalogue.record([ours, ours])[1] == Recorded(outcome=2, version=1, seq=0)  # type: ignore[arg-type]
    events = catalogue.outbox("test", 10)
    assert [(event.kind, event.detail["file"]) for event in events] == [
        ("durable", ours.file.hex()),
        ("received", ours.file.hex()),
    ]


@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.drill) for seed in range(8, 40))])
def test_whatever_happens_both_agree_in_the_end(catalogue: SQLCatalogue, seed: int) -> None:
    """Random stores here and there; the upstream's catalogue decides, and in the end both show the same."""
    rng = random.Random(seed)
    upstream = {}  # file -> (number, NewVersion)
    numbers = {identity(1, 1, k).sop_instance_uid: 0 for k in (1, 2)}
    current: dict[str, NewVersion] = {}
    waiting: list[NewVersion] = []
    settled: dict[tuple[str, Digest], int] = {}

    def there(new: NewVersion) -> int:
        uid = new.identity.sop_instance_uid
        if new.file not in upstream:
            numbers[uid] += 1
            upstream[new.file] = numbers[uid], new
            if uid not in current or current[uid].frames.enc == new.frames.enc:
                current[uid] = new
        return int(upstream[new.file][0])

    def pull() -> None:
        batch = [(new, upstream[new.file][0], True) for new in current.values()]
        catalogue.replicate(batch, [], {"main": dict(settled)})
        settled.clear()

    for _ in range(30):
        new = version(
            identity(1, 1, rng.choice((1, 2))),
            frames=frame_table(rng.choice(("p", "p", "q"))),
            t00100010=rng.choice("ABCDE"),
        )
        match rng.choice(("here", "here", "there", "forward", "pull")):
            case "here":
                if catalogue.record([new])[0].outcome != 2:
                    waiting.append(new)
            case "there":
                there(new)
            case "forward" if waiting:
                sent = waiting.pop(0)
                settled[sent.identity.sop_instance_uid, sent.file] = there(sent)
            case _:
                pull()
        for one in waiting:
            versions = catalogue.list_versions("main", one.identity.sop_instance_uid)
            assert one.file in {record.file for record in versions}, "nothing that waits is lost"
    for sent in waiting:
        settled[sent.identity.sop_instance_uid, sent.file] = there(sent)
    pull()
    assert not catalogue.holds_local(STUDY)
    found = {
        record.identity.sop_instance_uid: (record.file, record.version) for record in catalogue.list_instances(STUDY)
    }
    assert found == {uid: (new.file, upstream[new.file][0]) for uid, new in current.items()}
