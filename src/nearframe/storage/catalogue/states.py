"""The rows a transaction works on, as objects: loaded, changed in memory, written once at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nearframe.dicom.model import DICOMJSON
from nearframe.ids import Digest
from nearframe.storage.catalogue.answers import StudyCounts
from nearframe.storage.catalogue.attributes import string
from nearframe.storage.catalogue.values import unpack_bulk
from nearframe.storage.ports import BulkEntry
from nearframe.wire.frametable import FrameTable


@dataclass(eq=False, slots=True)
class StudyState:
    """A study and its series.

    Attributes
    ----------
    seq
        Its place in the feed, once `touched` that of this transaction.
    source_id
        The version its attributes come from; None asks for a new source before writing.
    """

    id: int
    tenant: str
    uid: str
    seq: int
    source_id: int | None
    attributes: DICOMJSON
    is_new: bool
    #: Instances it had in view when it was loaded.
    instances_before: int = 0
    is_touched: bool = False
    #: Whether the row holds other attributes.
    is_other: bool = False
    series: dict[str, SeriesState] = field(default_factory=dict)
    #: What the index holds of it now, and the modalities and SOP classes that follows from.
    terms: set[tuple[int, str]] = field(default_factory=set)
    indexed: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def show(self, attributes: DICOMJSON) -> None:
        """Have these attributes from now on."""
        if attributes != self.attributes:
            self.attributes, self.is_other = attributes, True

    def settle(self) -> None:
        """Be as the database has it, now that the transaction is committed."""
        self.is_new = self.is_touched = self.is_other = False
        self.instances_before = sum(series.instance_count for series in self.series.values())
        for series in self.series.values():
            series.is_new = series.is_touched = series.is_other = False

    @property
    def listed_series(self) -> list[SeriesState]:
        return [series for series in self.series.values() if series.instance_count]

    def counts(self) -> StudyCounts:
        listed = self.listed_series
        return StudyCounts(
            series=len(listed),
            instances=sum(series.instance_count for series in listed),
            modalities=tuple(sorted({series.modality for series in listed if series.modality})),
            sop_classes=tuple(sorted({uid for series in listed for uid in series.sop_classes if uid})),
        )


@dataclass(eq=False, slots=True)
class SeriesState:
    """A series: how many current instances it has, of which SOP classes."""

    id: int
    study: StudyState
    uid: str
    seq: int
    source_id: int | None
    attributes: DICOMJSON
    sop_classes: Counter[str]
    is_new: bool
    is_touched: bool = False
    is_other: bool = False

    def show(self, attributes: DICOMJSON) -> None:
        """Have these attributes from now on."""
        if attributes != self.attributes:
            self.attributes, self.is_other = attributes, True

    @property
    def instance_count(self) -> int:
        return self.sop_classes.total()

    @property
    def modality(self) -> str:
        return string(self.attributes, "00080060")

    def add(self, sop_class_uid: str) -> None:
        self.sop_classes[sop_class_uid] += 1

    def remove(self, sop_class_uid: str) -> None:
        self.sop_classes[sop_class_uid] -= 1
        self.sop_classes += Counter()  # drops what reached zero


@dataclass(eq=False)
class VersionState:
    """A version: its row, of which only the last three columns ever change after it was written."""

    id: int
    number: int
    series: SeriesState
    row: dict[str, Any]
    is_new: bool
    is_changed: bool = False
    is_replaced: bool = False

    @property
    def file(self) -> Digest:
        digest: Digest = self.row["file"]
        return digest

    @property
    def sop_class_uid(self) -> str:
        uid: str = self.row["sop_class_uid"]
        return uid

    @property
    def is_removed(self) -> bool:
        return bool(self.row["removed"])

    @cached_property
    def frames(self) -> FrameTable:
        return FrameTable.decode(self.row["frames"])

    @cached_property
    def bulk(self) -> tuple[BulkEntry, ...]:
        return unpack_bulk(self.row["bulk"])

    def change(self, **columns: int | bool | None) -> None:
        """Set ``current_from_seq``, ``current_to_seq`` or ``removed``."""
        self.row |= columns
        self.is_changed = True


@dataclass(eq=False, slots=True)
class InstanceState:
    """An instance and its versions, oldest first."""

    id: int
    tenant: str
    uid: str
    is_new: bool
    last_number: int = 0
    current: VersionState | None = None
    versions: dict[int, VersionState] = field(default_factory=dict)
    #: Columns of its row that show the current version.
    row: dict[str, Any] = field(default_factory=dict)
    is_changed: bool = False
    #: Whether a correction took it out of view.
    is_withdrawn: bool = False

    def holding(self, file: Digest) -> VersionState | None:
        """Return the version with these bytes, if one is in view."""
        for version in self.versions.values():
            if version.file == file and not version.is_removed:
                return version
        return None
