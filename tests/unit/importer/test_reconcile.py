"""What was found, study by study."""

from __future__ import annotations

from typing import cast

from nearframe.importer.reconcile import Ledger
from nearframe.importer.webarchive import RemoteInstance, WebArchive


class Target:
    def __init__(self, **held: list[str]) -> None:
        self._held = held

    def instances(self, study: str) -> list[RemoteInstance]:
        return [RemoteInstance(study, "s", uid) for uid in self._held.get(study, ())]


def test_each_instance_counts_once() -> None:
    with Ledger() as ledger:
        for identity in [("a", "1"), ("a", "1"), ("a", "2"), ("b", "3"), ("", "4"), None]:
            ledger.add(identity, str(identity))
        compared = ledger.reconciled(cast("WebArchive", Target(a=["1", "9"])))
    assert (compared.studies, compared.instances, compared.held, compared.others) == (2, 3, 1, 1)
    assert (compared.missing_count, compared.unidentified, compared.is_even) == (2, 2, False)


def test_even() -> None:
    with Ledger() as ledger:
        ledger.add(("a", "1"), "file")
        assert ledger.reconciled(cast("WebArchive", Target(a=["1"]))).is_even
