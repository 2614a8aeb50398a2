"""Synthetic studies: attributes, and versions as ingest hands them over. The same numbers give the same ones."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final

from nearframe.dicom.attributes import attributes_of
from nearframe.dicom.model import DICOMJSON, PixelDescription
from nearframe.ids import Identity, sha256
from nearframe.storage.ports import NewVersion
from nearframe.wire.frametable import FrameTable

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
ROOT: Final = "1.2.826.0.1.3680043.10.1.20261122"
RECEIVED: Final = datetime(2026, 11, 22, tzinfo=UTC)
STUDIES_PER_PATIENT: Final = 3
PIXEL: Final = PixelDescription(512, 512, 1, 16, 12, 11, 0, "MONOCHROME2")

_FAMILY = ("Abel", "Berg", "Costa", "Dumont", "Evans", "Fischer", "Garcia", "Hansen", "Ivanova", "Jensen", "Kowalski")
_GIVEN = ("Anna", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Katja", "Lukas")
_PARTS = ("Head", "Chest", "Abdomen", "Knee", "Spine", "Pelvis", "Neck", "Shoulder")
_MODALITIES = ("CT", "MR", "US", "CR", "PT", "XA")


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of what: 100 instances a study, as a mix of radiographs, CT and MR has; three studies a patient."""

    instances: int
    series_per_study: int = 5
    instances_per_series: int = 20

    @property
    def instances_per_study(self) -> int:
        return self.series_per_study * self.instances_per_series

    @property
    def studies(self) -> int:
        return self.instances // self.instances_per_study


def study_attributes(number: int, seed: int = 1) -> DICOMJSON:
    """Return the patient and study attributes of study `number`; the same for the same number."""
    chance = random.Random(seed * 1_000_003 + number)
    patient = number // STUDIES_PER_PATIENT
    of_patient = random.Random(f"patient {patient}")
    day = date(2015, 1, 1) + timedelta(days=chance.randrange(4300))
    # A serial number keeps names as rare as they are.
    name = f"{of_patient.choice(_FAMILY)}{_letters(patient)}^{of_patient.choice(_GIVEN)}"
    return _elements(
        ("00080005", "CS", "ISO_IR 192"),
        ("00080020", "DA", day.strftime("%Y%m%d")),
        ("00080030", "TM", f"{chance.randrange(24):02}{chance.randrange(60):02}00"),
        ("00080050", "SH", f"ACC{number:08}"),
        ("00080090", "PN", {"Alphabetic": f"{chance.choice(_FAMILY)}^{chance.choice(_GIVEN)}"}),
        ("00081030", "LO", f"{chance.choice(_MODALITIES)} {chance.choice(_PARTS)} protocol {number % 40}"),
        ("00100010", "PN", {"Alphabetic": name}),
        ("00100020", "LO", f"MRN{patient:07}"),
        ("00100030", "DA", "19500101"),
        ("00100040", "CS", of_patient.choice("MF")),
        ("0020000D", "UI", f"{ROOT}.{number}"),
        ("00200010", "SH", str(number)),
    )


def series_attributes(study: int, series: int) -> DICOMJSON:
    """Return the attributes of a series; a study's series share two modalities at most."""
    modality = _MODALITIES[(study + series // 4) % len(_MODALITIES)]
    return _elements(
        ("00080005", "CS", "ISO_IR 192"),
        ("00080021", "DA", "20200101"),
        ("00080060", "CS", modality),
        ("00080070", "LO", "ACME Medical"),
        ("0008103E", "LO", f"{modality} series {series}"),
        ("00180015", "CS", "CHEST"),
        ("0020000E", "UI", f"{ROOT}.{study}.{series}"),
        ("00200011", "IS", series),
    )


def instance_attributes(study: int, series: int, instance: int) -> DICOMJSON:
    """Return the attributes of an instance."""
    return _elements(
        ("00080005", "CS", "ISO_IR 192"),
        ("00080008", "CS", "ORIGINAL"),
        ("00080016", "UI", CT_IMAGE),
        ("00080018", "UI", f"{ROOT}.{study}.{series}.{instance}"),
        ("00080023", "DA", "20200101"),
        ("00080033", "TM", f"1200{instance % 60:02}"),
        ("00200013", "IS", instance),
        ("00201041", "DS", instance * 1.5),
        ("00280004", "CS", "MONOCHROME2"),
        ("00280010", "US", 512),
        ("00280011", "US", 512),
        ("00280100", "US", 16),
    )


def identity(study: int, series: int, instance: int) -> Identity:
    return Identity(CT_IMAGE, f"{ROOT}.{study}.{series}.{instance}", f"{ROOT}.{study}.{series}", f"{ROOT}.{study}")


def versions(shape: Shape) -> Iterator[NewVersion]:
    """Yield versions as ingest hands them over, with metadata of a CT slice's size."""
    for study in range(shape.studies):
        study_part = study_attributes(study)
        for series in range(1, shape.series_per_study + 1):
            series_part = series_attributes(study, series)
            for instance in range(1, shape.instances_per_series + 1):
                yield version(identity(study, series, instance), study_part | series_part)


def version(uids: Identity, common: DICOMJSON) -> NewVersion:
    """Return one version: `common` and about 50 further attributes."""
    study, series, instance = (int(part) for part in uids.sop_instance_uid.removeprefix(f"{ROOT}.").split("."))
    metadata = dict(sorted((common | instance_attributes(study, series, instance) | _filler(instance % 50)).items()))
    key = uids.sop_instance_uid.encode()
    return NewVersion(
        tenant="main",
        identity=uids,
        transfer_syntax_uid=EXPLICIT_LE,
        hdr=sha256(b"header" + key),
        header_bytes=6000,
        file=sha256(b"file" + key),
        file_bytes=530_000,
        frames=FrameTable.of([(sha256(b"enc" + key), sha256(b"pix" + key), 524_288)]),
        bulk=(),
        pieces=(0,),
        pixel=PIXEL,
        metadata=metadata,
        attributes=attributes_of(metadata),
        source="bench",
        received_at=RECEIVED,
    )


@cache
def _filler(seed: int) -> DICOMJSON:
    """Return attributes that make metadata as long as a CT slice's."""
    chance = random.Random(seed)
    return {
        f"0018{9000 + n:04X}": {"vr": "DS", "Value": [round(chance.uniform(-500, 500), 4) for _ in range(n % 4 + 1)]}
        for n in range(50)
    }


def _elements(*rows: tuple[str, str, Any]) -> DICOMJSON:
    return {tag: {"vr": vr, "Value": [value]} for tag, vr, value in rows}


def _letters(number: int) -> str:
    """Return `number` in letters: 0 is "a", 26 is "ba"."""
    digits = itertools.takewhile(lambda rest: rest > 0, (number // 26**power for power in range(1, 8)))
    return "".join(chr(97 + rest % 26) for rest in (number, *digits))[::-1]
