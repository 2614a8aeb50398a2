"""The kinds of correction that `bench.corrections` measures, as people, scanners and hospital systems ask for them."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final

import httpx
import pydicom

from bench.rejection import note
from nearframe.hl7.client import send
from nearframe.hl7.er7 import Written, written
from nearframe.settingkinds import Address

_HL7_PATIENCE_S: Final = 120.0
#: Rejected for Quality Reasons (CID 7011).
_TITLE: Final = "113001"
_NOTE: Final = "1.2.826.0.1.3680043.9.9999.9"


@dataclass(frozen=True, slots=True)
class Study:
    """A study that was sent.

    Attributes
    ----------
    instances
        SOP Instance UIDs by series, in the order of `files`.
    """

    uid: str
    patient: str
    issuer: str
    instances: dict[str, list[str]]
    files: list[bytes]

    @classmethod
    def of(cls, files: Sequence[bytes]) -> Study:
        """Return the study that files are of; the first says of whom."""
        read = [pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True) for file in files]
        instances: dict[str, list[str]] = {}
        for ds in read:
            instances.setdefault(str(ds.SeriesInstanceUID), []).append(str(ds.SOPInstanceUID))
        first = read[0]
        issuer = str(first.get("IssuerOfPatientID", ""))
        return cls(str(first.StudyInstanceUID), str(first.PatientID), issuer, instances, list(files))

    def paths(self) -> dict[str, str]:
        """Return where each instance was sent to, by its UID."""
        root = f"/dicomweb/studies/{self.uid}/series"
        return {uid: f"{root}/{series}/instances/{uid}" for series, uids in self.instances.items() for uid in uids}

    def part(self) -> dict[str, Any]:
        """Select the last series; of a study that has only one, its second half."""
        series, uids = [*self.instances.items()][-1]
        if len(self.instances) > 1:
            return {"study": self.uid, "series": series}
        return {"study": self.uid, "instances": uids[len(uids) // 2 :]}

    def some(self) -> list[str]:
        """Return a few instances of the first series."""
        return next(iter(self.instances.values()))[:3]

    def as_hl7(self) -> tuple[str, ...]:
        """Return its patient's identifier as a message names it."""
        return (self.patient, "", "", self.issuer)


@dataclass(slots=True)
class Site:
    """An archive with two studies, and how to reach it.

    Attributes
    ----------
    sent
        By SOP Instance UID: path and bytes of what was sent.
    notes
        Rejection notes that came meanwhile, with the study of each.
    """

    origin: httpx.AsyncClient
    hl7: Address
    first: Study
    second: Study
    sent: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    _control_ids: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        for study in (self.first, self.second):
            files = {str(_uid_of(file)): file for file in study.files}
            self.sent |= {uid: (path, files[uid]) for uid, path in study.paths().items()}

    async def store(self, file: bytes) -> None:
        headers = {"Content-Type": "application/dicom"}
        (await self.origin.post("/dicomweb/studies", content=file, headers=headers)).raise_for_status()

    async def correct(self, action: str, **asked: Any) -> None:
        document = {"action": action, "reason": "a benchmark", **asked}
        (await self.origin.post("/api/corrections", json=document)).raise_for_status()

    async def say(self, event: str, *segments: tuple[str, Sequence[Written]]) -> None:
        """Send an HL7 message; it is accepted."""
        names = ["BENCH", "HERE", "NEARFRAME", "HERE", "20261123080000", "", ("ADT", event)]
        header = [*names, f"B{next(self._control_ids)}", "P", "2.5.1"]
        message = written([("MSH", header), ("EVN", [event]), *segments])
        (answer,) = await send(message.encode(), self.hl7, _HL7_PATIENCE_S)
        if b"MSA|AA|" not in answer:
            raise RuntimeError(f"ADT^{event} was not accepted")


def _uid_of(file: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(file), specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


# -- kinds -------------------------------------------------------------------------------------


async def _attributes(site: Site, select: Callable[[Study], dict[str, Any]], values: dict[str, str]) -> None:
    await site.correct("attributes", select=select(site.first), set=values)


async def _merge(site: Site) -> None:
    first, second = site.first, site.second
    await site.correct("merge", **{"from": _patient(first), "into": _patient(second)})


async def _split(site: Site) -> None:
    await site.correct("move", select=site.first.part(), to={}, set={"AccessionNumber": "BENCH-2"})


async def _move(site: Site) -> None:
    await site.correct("move", select={"study": site.first.uid}, to={"study": site.second.uid})


async def _give(site: Site) -> None:
    await site.correct("move", select={"study": site.first.uid}, to={"patient": _patient(site.second)})


async def _delete(site: Site, select: Callable[[Study], dict[str, Any]]) -> None:
    await site.correct("delete", select=select(site.first))


async def _reject(site: Site) -> None:
    wanted = set(site.first.some())
    site.notes.append((site.first.uid, _NOTE))
    await site.store(note([site.sent[uid][1] for uid in wanted], _TITLE, _NOTE))


async def _update(site: Site) -> None:
    await site.say("A08", ("PID", ["1", "", site.first.as_hl7(), "", ("Bench", "Renamed")]))


async def _merged(site: Site, event: str) -> None:
    await site.say(
        event,
        ("PID", ["1", "", site.second.as_hl7(), "", ("Bench", "Other")]),
        ("MRG", [site.first.as_hl7()]),
    )


async def _renumbered(site: Site) -> None:
    new = ("BENCH-NEW", "", "", site.first.issuer)
    await site.say("A47", ("PID", ["1", "", new, "", ("Bench", "Other")]), ("MRG", [site.first.as_hl7()]))


def _patient(study: Study) -> dict[str, str]:
    return {"id": study.patient, "issuer": study.issuer}


def _whole(study: Study) -> dict[str, Any]:
    return {"study": study.uid}


def _series(study: Study) -> dict[str, Any]:
    return {"study": study.uid, "series": next(iter(study.instances))}


def _some(study: Study) -> dict[str, Any]:
    return {"study": study.uid, "instances": study.some()}


#: What it is called, and who does it.
KINDS: Final[tuple[tuple[str, Callable[[Site], Awaitable[None]]], ...]] = (
    ("patient renamed", partial(_attributes, select=lambda study: {"patient": _patient(study)},
                                values={"PatientName": "Bench^Renamed"})),
    ("study: accession number", partial(_attributes, select=_whole, values={"AccessionNumber": "BENCH-1"})),
    ("series: description", partial(_attributes, select=_series, values={"SeriesDescription": "corrected"})),
    ("a few instances: comment", partial(_attributes, select=_some, values={"ImageComments": "corrected"})),
    ("patients merged", _merge),
    ("study split", _split),
    ("study moved into another", _move),
    ("study given to another patient", _give),
    ("a few instances deleted", partial(_delete, select=_some)),
    ("study deleted", partial(_delete, select=_whole)),
    ("a few instances rejected (KOS)", _reject),
    ("HL7 A08: patient renamed", _update),
    ("HL7 A40: patients merged", partial(_merged, event="A40")),
    ("HL7 A47: identifier changed", _renumbered),
)  # fmt: skip
