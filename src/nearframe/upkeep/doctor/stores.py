"""Keys, catalogue and packs: each by itself, and one against the other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, timedelta
from typing import Final

from nearframe.query.health import WELL, Finding, State, look_for_loss
from nearframe.storage.catalogue import CATALOGUE_FILE, open_catalogue
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.catalogue.leases import Leases
from nearframe.storage.catalogue.migrations import LATEST, MOVED, UNFINISHED, version_of
from nearframe.storage.catalogue.snapshot import examine
from nearframe.storage.packs import PackSettings
from nearframe.storage.packs.files import LocalFiles
from nearframe.storage.packs.indexed import indexed_packs
from nearframe.storage.packs.keyring import RING_FILE, SlotKeyRing
from nearframe.storage.packs.keys import read_root_key
from nearframe.storage.packs.record import Role
from nearframe.storage.packs.segments import pack_name
from nearframe.storage.stores import open_store
from nearframe.units import counted
from nearframe.upkeep.crosscheck import cross_check
from nearframe.upkeep.doctor.patient import Patient, unseen
from nearframe.upkeep.lastscrub import remembered

RESTORE: Final = "nearframe restore brings a backup back"
NOTHING_KEPT: Final = unseen("nothing is kept here yet")


def look_at_keys(patient: Patient) -> Finding:
    """Look whether the root key is there and opens the ring."""
    keys = patient.home / "keys"
    if patient.is_new:
        return NOTHING_KEPT
    ring = [] if patient.settings.s3_url else [RING_FILE]  # beside a bucket it is in the database
    missing = next((name for name in ["root.key", *ring] if not (keys / name).exists()), None)
    if missing is not None:
        return Finding(
            State.FAILING,
            f"{keys / missing} is missing, without which nothing in the packs can be read: put its copy back before a "
            f"node starts, or {RESTORE}",
        )
    root_key = read_root_key(keys / "root.key")
    if ring:
        SlotKeyRing(LocalFiles(keys), root_key)  # says what is wrong
    return WELL


def look_at_catalogue(patient: Patient) -> Finding:
    """Look whether the catalogue is there, whole, and of a schema that this release knows."""
    if patient.settings.database_url:
        with closing(open_database(patient.settings.database_url)) as database, database.read() as connection:
            return _look_at_schema(version_of(connection))
    path = patient.home / CATALOGUE_FILE
    if not path.exists():
        return _without_catalogue(patient)
    with closing(sqlite3.connect(path, timeout=1.0)) as connection:
        try:
            schema = examine(connection).schema
        except sqlite3.DatabaseError as error:
            return Finding(State.FAILING, f"{path} is no catalogue, or is damaged ({error}): {RESTORE}")
    return _look_at_schema(schema)


def _look_at_schema(schema: int) -> Finding:
    if schema == 0:
        return unseen("there are no tables yet: a node makes them when it starts")
    if schema == UNFINISHED:
        return Finding(
            State.FAILING,
            "another catalogue is being carried into that database: run that nearframe migrate to its end",
        )
    if schema == MOVED:
        return Finding(
            State.FAILING,
            "the archive was carried into another database: set database_url to that (nearframe migrate --take-back "
            "goes on with this one, without what was stored since)",
        )
    if schema > LATEST:
        return Finding(
            State.FAILING,
            f"a newer release wrote the catalogue (schema {schema}, this one knows {LATEST}): install that again",
        )
    if schema < LATEST:
        return Finding(
            State.DEGRADED, f"the catalogue has schema {schema}; this release makes it {LATEST} when it starts"
        )
    return WELL


def look_at_duties(patient: Patient) -> Finding:
    """Look who does what, where several processes share a catalogue."""
    if not patient.settings.database_url:
        return unseen("one process does everything")
    with closing(open_database(patient.settings.database_url)) as database:
        with database.read() as connection:
            if version_of(connection) != LATEST:
                return unseen("the look at the catalogue says why")
        standing = Leases(database).standing()
    if idle := [one.name for one in standing if one.expires_in_s <= 0]:
        return Finding(
            State.DEGRADED,
            f"nobody does {', '.join(idle)}: start an origin; if one runs, its log says why it does not take it up",
        )
    words = [f"{one.name}: {one.holder}" for one in standing]
    return Finding(State.OK, "; ".join(words)) if words else unseen("no process has begun yet")


def _without_catalogue(patient: Patient) -> Finding:
    if not any(use.contents for use in indexed_packs(patient.home).values()):
        return NOTHING_KEPT
    if patient.role == "edge":
        return Finding(State.DEGRADED, "the catalogue is missing: the edge gets it from upstream again when it starts")
    return Finding(
        State.FAILING,
        "the catalogue is missing beside packs that hold contents. It cannot be made from them: a header says how long "
        "its frames are, not which ones they are. nearframe restore --only-catalogue brings it back from a backup, and "
        "the objects that came later can be sent again",
    )


def look_at_packs(patient: Patient) -> Finding:
    """Look whether every pack that the index speaks of is there, and as long as it says."""
    packs = patient.home / "packs"
    if patient.settings.s3_url:
        return unseen("the contents are in a bucket")
    if patient.is_new:
        return NOTHING_KEPT
    missing = short = contents = 0
    for number, use in indexed_packs(patient.home).items():
        if use.role == Role.RETIRED or not use.contents:
            continue
        path = packs / pack_name(number)
        size = path.stat().st_size if path.exists() else 0
        missing += not size
        short += 0 < size < use.covered_bytes
        contents += use.contents if size < use.covered_bytes else 0
    if missing or short:
        return Finding(
            State.FAILING,
            f"{counted(missing, 'pack')} missing, {counted(short, 'pack')} cut short, with up to "
            f"{counted(contents, 'content')}: look at the disk; nearframe scrub says what is lost, and --repair-from "
            "brings it back from a backup",
        )
    return WELL


def look_at_contents(patient: Patient) -> Finding:
    """Look up everything that the catalogue speaks of; only where nobody else works in the home."""
    if patient.role != "origin":
        return unseen("an edge need not hold everything")
    if not patient.is_deep or patient.is_running:
        return unseen("--deep does, with the node stopped")
    if not patient.settings.database_url and not (patient.home / CATALOGUE_FILE).exists():
        return unseen("there is no catalogue")
    with (
        closing(open_store(patient.settings, PackSettings(reserve_bytes=0))) as packs,
        closing(open_catalogue(patient.settings.database_url or patient.home / CATALOGUE_FILE)) as catalogue,
    ):
        found = cross_check(catalogue, packs)
    if not found.incomplete:
        return WELL
    return Finding(
        State.FAILING,
        f"{found.incomplete} of {counted(found.versions, 'version')} lack {counted(found.contents, 'content')}: "
        "nearframe scrub --repair-from brings them back from a backup, or store those objects again",
    )


def look_at_scrub(patient: Patient) -> Finding:
    """Look whether everything was read and proved lately."""
    days = patient.settings.scrub_days
    if patient.is_new:
        return NOTHING_KEPT
    if not days:
        return unseen("scrub_days is 0")
    last = remembered(patient.home)
    if last is None:
        return unseen("it is remembered from the node's next start on")
    if last.lost and patient.role != "edge":  # which fetches what it lost
        return look_for_loss(last.lost)
    age = patient.now - last.at.astimezone(UTC)
    if age > timedelta(days=2 * days):
        return Finding(State.DEGRADED, f"nothing was scrubbed for {age.days} days: run nearframe scrub")
    return WELL
