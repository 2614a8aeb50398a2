"""What a re-send moves between two nodes: ``python -m bench.resend [DATA] [--json]``.

An edge holds a first set of files; then a second set of the same pictures, sent again by
another writer, comes into the archive, and a reader opens all of it at the edge. Counted
is what came over the line, by kind, per instance of the second set. DATA is the folder of
real studies, found as the tests find it; without it only the synthetic series is measured. Where nothing is saved the
table says zero.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom

from bench import corpus
from bench.studies import studies_folder
from nearframe.app import open_origin
from nearframe.config import Settings
from nearframe.edgeapp import open_edge
from nearframe.listener.testing import running
from nearframe.metrics import UPSTREAM_BYTES, Metrics

STORED = {"Accept": "application/dicom; transfer-syntax=*"}


@dataclass(frozen=True, slots=True)
class Resend:
    """Two sets of files that show the same pictures."""

    name: str
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes over the line per instance of the second set, and the share of its files that needed not move.

    Attributes
    ----------
    frame_bytes
        Frames, and large values that are kept apart from the header like them.
    study_manifest_bytes
        The whole manifest of the last study at the end, for comparison.
    """

    name: str
    instances: int
    file_bytes: float
    manifest_bytes: float
    header_bytes: float
    frame_bytes: float
    saved: float
    study_manifest_bytes: int


# -- sets --------------------------------------------------------------------------------------


def real_sets(data: Path) -> Iterable[Resend]:
    """Yield the re-sends in the folder of real studies."""
    timeline = data / "patient-timeline"
    yield Resend(
        "MR, imported by a second hospital",
        _files(timeline / "1-mr-20180107-original-cd"),
        _files(timeline / "2-mr-20180107-imported-by-second-hospital"),
    )
    agfa = data / "pacs-rewrite-agfa"
    yield Resend("enhanced MR, rewritten by a PACS", _files(agfa / "Siemens"), _files(agfa / "Agfa"))
    philips = data / "classic-vs-enhanced-philips"
    classic, enhanced = _files(philips / "cl"), _files(philips / "enh")
    yield Resend("MR, classic then enhanced", classic, enhanced)
    yield Resend("MR, enhanced then classic", enhanced, classic)
    native = _files(data / "zoo" / "cornerstone", "CTImage.dcm_LittleEndianExplicit*")
    for codec in ("JPEG2000LosslessOnly", "JPEGLSLossless", "RLELossless", "JPEGProcess14SV1"):
        again = _files(data / "zoo" / "cornerstone", f"CTImage.dcm_{codec}TransferSyntax*")
        yield Resend(f"CT, native then {codec}", native, again)
    single = data / "zoo" / "dicomParser" / "encapsulated" / "single-frame"
    whole, cut = (_files(single, f"CT1_UNC.{how}_bot_jpeg_ls.80.dcm") for how in ("not_fragmented", "fragmented"))
    yield Resend("CT, JPEG-LS, other fragments", whole, cut)


def synthetic_set(folder: Path, count: int) -> Resend:
    """Return a CT series and the same with another patient name."""
    series = corpus.ct_series(folder, count, 64, "1")
    first = tuple(path.read_bytes() for path in series.files)
    return Resend(f"CT of {count} slices, patient renamed", first, tuple(map(_renamed, first)))


def _renamed(file: bytes) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(file))
    ds.PatientName = "Bench^Corrected"
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def _files(folder: Path, pattern: str = "*") -> tuple[bytes, ...]:
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    files = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in paths)
    return tuple(file for file in files if _is_instance(file))


def _is_instance(file: bytes) -> bool:
    """Return whether a file is an object of its own: folders hold notes and directories too."""
    try:
        ds = pydicom.dcmread(io.BytesIO(file), specific_tags=["SOPInstanceUID"])
    except pydicom.errors.InvalidDicomError:
        return False
    return "SOPInstanceUID" in ds


# -- measuring ---------------------------------------------------------------------------------


async def measure(resend: Resend) -> Moved:
    """Send both sets through a pair of nodes and count what the second one moved."""
    with tempfile.TemporaryDirectory() as folder:
        async with _nodes(Path(folder)) as (origin, edge, metrics):
            await _send_and_read(origin, edge, resend.first)
            before = _received(metrics)
            await _send_and_read(origin, edge, resend.second)
            after = _received(metrics)
            whole = await _manifest_bytes(origin, resend.second[-1])
    count, size = len(resend.second), sum(map(len, resend.second))
    manifest, header, frame = (now - then for now, then in zip(after, before, strict=True))
    saved = max(0.0, 1 - (manifest + header + frame) / size)
    return Moved(resend.name, count, size / count, manifest / count, header / count, frame / count, saved, whole)


@asynccontextmanager
async def _nodes(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient, Metrics]]:
    more: dict[str, Any] = {"insecure": True, "renditions": False, "perceptual": False, "disk_reserve_bytes": 0}
    async with (
        open_origin(Settings(home=folder / "origin", **more)) as (app, _),
        running(app) as upstream,
        open_edge(Settings(home=folder / "edge", upstream=(upstream,), prefetch=False, push="none", **more)) as (
            edge_app,
            metrics,
        ),
        running(edge_app) as edge,
        httpx.AsyncClient(base_url=upstream, timeout=300) as origin_client,
        httpx.AsyncClient(base_url=edge, timeout=300) as edge_client,
    ):
        yield origin_client, edge_client, metrics


async def _send_and_read(origin: httpx.AsyncClient, edge: httpx.AsyncClient, files: Sequence[bytes]) -> None:
    for file in files:
        response = await origin.post("/dicomweb/studies", content=file, headers={"Content-Type": "application/dicom"})
        response.raise_for_status()
    head = (await origin.get("/api/status")).json()["feed"]["head"]
    while (await edge.get("/api/status")).json()["upstream"]["cursor"] != head:
        await asyncio.sleep(0.1)
    for file in files:
        (await edge.get(_path(file), headers=STORED)).raise_for_status()


async def _manifest_bytes(origin: httpx.AsyncClient, file: bytes) -> int:
    study = _path(file).split("/")[3]
    headers = {"Accept-Encoding": "zstd"}
    async with origin.stream("GET", f"/api/studies/{study}/manifest", headers=headers) as response:
        return sum([len(chunk) async for chunk in response.aiter_raw()])


def _path(file: bytes) -> str:
    tags = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    ds = pydicom.dcmread(io.BytesIO(file), specific_tags=tags, force=True)
    study, series, instance = (ds.get(tag) for tag in tags)
    return f"/dicomweb/studies/{study}/series/{series}/instances/{instance}"


def _received(metrics: Metrics) -> tuple[int, int, int]:
    value: Callable[..., float] = metrics.value
    manifest, delta, header, frame = (
        int(value(UPSTREAM_BYTES, kind=kind)) for kind in ("manifest", "delta", "header", "frame")
    )
    return manifest + delta, header, frame


# -- telling -----------------------------------------------------------------------------------


def _print_table(rows: Iterable[Moved]) -> None:
    print(
        f"{'bytes over the line, per instance':<36}{'instances':>10}{'its file':>12}{'manifest, delta':>17}"
        f"{'headers':>10}{'frames':>10}{'saved':>8}{'study manifest':>16}"
    )
    for row in rows:
        print(
            f"{row.name:<36}{row.instances:>10}{row.file_bytes:>12,.0f}{row.manifest_bytes:>17,.1f}"
            f"{row.header_bytes:>10,.1f}{row.frame_bytes:>10,.0f}{row.saved:>8.1%}{row.study_manifest_bytes:>16,}"
        )


async def _main(options: argparse.Namespace) -> None:
    # Nodes are stopped while they wait for news, and say so.
    logging.getLogger("nearframe").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        sets = [synthetic_set(Path(folder), options.slices)]
    if options.data is not None:
        sets += real_sets(options.data)
    rows = [await measure(resend) for resend in sets]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        _print_table(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=studies_folder(), help="folder of real studies")
    parser.add_argument("--slices", type=int, default=1000, help="of the synthetic series")
    parser.add_argument("--json", action="store_true")
    asyncio.run(_main(parser.parse_args()))
