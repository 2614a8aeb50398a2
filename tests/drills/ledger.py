"""What was sent and what was acknowledged, as the senders saw it: no node has a say in this."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from typing import Final

import pydicom

from tests.syncing import ct_series

_ROOT: Final = "1.2.826.0.1.3680043.2.1125.7"
_ROWS: Final = 160  # frames of 51 KB


@dataclass(eq=False)
class Instance:
    """An instance, every file that was ever sent of it, and those that were acknowledged, by digest."""

    study: str
    path: str
    uid: str
    pixels: bytes
    first: bytes
    sent: dict[bytes, bytes] = field(default_factory=dict)
    acknowledged: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Ledger:
    """The instances that were ever sent."""

    instances: list[Instance] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many files were acknowledged."""
        return sum(len(instance.acknowledged) for instance in self.instances)

    def studies(self) -> dict[str, list[Instance]]:
        """Return the instances of each study."""
        found: dict[str, list[Instance]] = {}
        for instance in self.instances:
            found.setdefault(instance.study, []).append(instance)
        return found


def instances(studies: int, each: int) -> list[Instance]:
    """Return the instances of a few CT studies, none of them sent yet."""
    made = []
    for number in range(studies):
        for file in ct_series(each, rows=_ROWS, study=f"{_ROOT}.{number}", seed=number):
            ds = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
            study, uid = str(ds.StudyInstanceUID), str(ds.SOPInstanceUID)
            path = f"/dicomweb/studies/{study}/series/{ds.SeriesInstanceUID}/instances/{uid}"
            made.append(Instance(study, path, uid, file[-_ROWS * _ROWS * 2 :], file))
    return made


def digest(data: bytes) -> bytes:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(data).digest()
