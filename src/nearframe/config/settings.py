"""All settings of a node together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from nearframe.config.declaring import Setting, rows
from nearframe.config.dicom import DICOMSettings
from nearframe.config.edge import EdgeSettings
from nearframe.config.hl7 import HL7Settings
from nearframe.config.limits import LimitSettings
from nearframe.config.network import NetworkSettings
from nearframe.config.node import NodeSettings
from nearframe.config.storage import ObjectStoreSettings, StorageSettings
from nearframe.config.work import CacheSettings, SearchSettings, WorkSettings
from nearframe.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Settings(
    NodeSettings,
    NetworkSettings,
    DICOMSettings,
    HL7Settings,
    EdgeSettings,
    StorageSettings,
    ObjectStoreSettings,
    LimitSettings,
    WorkSettings,
    SearchSettings,
    CacheSettings,
):
    """The settings of one node. Immutable; made by `load`, or directly in tests."""

    #: The file, variable or option that each given setting comes from; no setting itself.
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Name where the tables of a setting come from in what is said of them."""
        try:
            yield
        except ConfigurationError as error:
            source = self.sources.get(name)
            raise ConfigurationError(f"{source}: {error}" if source else str(error)) from error


SETTINGS: tuple[Setting, ...] = tuple(row for group in Settings.__bases__ for row in rows(group))
