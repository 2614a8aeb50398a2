"""What is kept, and for how long: rules of retention, and legal holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from nearframe.query.health import WELL, Finding, State
from nearframe.storage.catalogue import CATALOGUE_FILE
from nearframe.units import counted
from nearframe.upkeep.doctor.patient import Patient, unseen
from nearframe.upkeep.doctor.stores import NOTHING_KEPT
from nearframe.upkeep.retention.rules import read_rules


def look_at_retention(patient: Patient) -> Finding:
    """Look whether the rules of retention can be read, and whether anything deletes."""
    settings = patient.settings
    with settings.reading("retention"):
        rules = read_rules(settings.retention)  # says what is wrong
    if patient.role == "edge":
        return unseen("an edge keeps what its origin shows")
    deleting = sum(rule.deletes for rule in rules)
    gone = f"what is deleted goes for good after {counted(settings.purge_days, 'day')}"
    if not settings.purge_days:
        gone = "what is deleted never goes for good (purge_days)"
    return Finding(State.OK, f"{counted(len(rules), 'rule')}, {deleting} of which delete; {gone}")


def look_at_holds(patient: Patient) -> Finding:
    """Count the legal holds."""
    path = patient.home / CATALOGUE_FILE
    if patient.settings.database_url:
        return unseen("nearframe hold list asks the node")
    if not path.exists():
        return NOTHING_KEPT
    try:
        with closing(sqlite3.connect(path, timeout=1.0)) as connection:
            (standing,) = connection.execute("SELECT count(*) FROM hold WHERE released_at IS NULL").fetchone()
    except sqlite3.DatabaseError:  # the look at the catalogue says why, or an older release wrote it
        return unseen("the catalogue knows none")
    if not standing:
        return WELL
    return Finding(State.OK, f"{counted(standing, 'hold')}: nearframe hold list says on what, and why")
