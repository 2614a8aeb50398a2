"""A clinic behind a thin line, four times over: the ways to read an archive that is at the other end."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import corpus, load, peers
from bench.caches import nginx_cache, nginx_tls
from bench.network import FAR_ADDRESS, Network
from bench.reader import FRAMES, Reader

#: What Orthanc holds: it does not know HTJ2K, and of what it knows this is the shortest that is quick to make.
JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
_PATIENCE_S: Final = 600.0

ORIGIN, NGINX, PLAIN_EDGE, EDGE = "origin direct", "nginx + Orthanc", "edge without delta", "edge"
COLUMNS: Final = (ORIGIN, NGINX, PLAIN_EDGE, EDGE)
EDGES: Final = (PLAIN_EDGE, EDGE)


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame, and how much of it is a quarter-resolution picture.

    Attributes
    ----------
    quarter_bytes
        Prefix of the codestream that holds a quarter of rows and columns.
    """

    path: str
    length: int
    quarter_bytes: int


@dataclass(slots=True)
class Sites:
    """The archives at the far end, with the same pictures in both, and what is stored there.

    Attributes
    ----------
    series
        The series that is opened or exported.
    singles
        Studies of one slice: pictures that nobody has asked for yet.
    """

    network: Network
    folder: Path
    tls: tuple[Path, Path]
    origin: peers.Server
    orthanc: peers.Server
    series: corpus.Series
    pictures: list[Picture] = field(default_factory=list)
    singles: list[Picture] = field(default_factory=list)
    _homes: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def column(self, name: str) -> Iterator[peers.Server]:
        """Start a way to read, with nothing held yet but what an edge follows; yield what the client speaks to."""
        home = self.folder / f"near-{next(self._homes)}"
        with contextlib.ExitStack() as stack:
            if name == ORIGIN:
                yield self.origin
            elif name == NGINX:
                yield stack.enter_context(nginx_cache(home, self.orthanc, self.tls))
            else:
                options = QUIET if name == EDGE else (*QUIET, "--no-deltas")
                edge = stack.enter_context(peers.edge(home, self.origin, tls=self.tls, options=options))
                self.wait_followed(edge)
                yield edge

    def wait_followed(self, edge: peers.Server) -> None:
        """Return once an edge knows all that the origin announced."""
        upstream, here = Reader(_root(self.origin)), Reader(_root(edge))
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            # Ask the edge first: what the origin announces in between must not count as followed.
            cursor = here.json("/api/status")["upstream"]["cursor"]
            if cursor == upstream.json("/api/status")["feed"]["head"]:
                return
            time.sleep(0.1)
        raise RuntimeError("the edge does not get to the end of the feed")

    def rename(self, server: peers.Server) -> None:
        """Give the patient of the series another name, from within the far site: nothing of it goes over the line."""
        encoded = self.folder / "encoded" / self.series.study
        files = self.series.files if server is self.origin else sorted(encoded.iterdir())
        folder = self.folder / f"renamed-{next(self._homes)}"
        corpus.renamed(files, folder, f"{next(self._homes):07d}")
        command = [*self.network.far.enter, sys.executable, "-m", "bench.load", server.url, str(folder)]
        subprocess.run(command, check=True)
        shutil.rmtree(folder)


#: Work in the background that would only share the machine with what is measured.
QUIET: Final = ("--no-perceptual",)


@contextlib.contextmanager
def two_archives(network: Network, folder: Path, slices: int, singles: int, size: int) -> Iterator[Sites]:
    """Start an origin and Orthanc at the far site and fill them; the line is wide meanwhile."""
    tls = peers.self_signed(folder / "tls", FAR_ADDRESS)
    series = corpus.ct_series(folder / "series", slices, size, "1")
    ones = [
        corpus.ct_series(folder / "singles" / str(number), 1, size, f"2.{number}", seed=10_000 + number)
        for number in range(singles)
    ]
    with (
        peers.origin(folder / "origin", tls=tls, place=network.far, options=QUIET) as origin,
        peers.orthanc(folder / "orthanc", place=network.far) as plain,
        nginx_tls(folder / "tls-proxy", plain, tls, network.far) as orthanc,
    ):
        for one in (series, *ones):
            load.store_files(origin.url, one.files)
        sites = Sites(network, folder, tls, origin, orthanc, series)
        sites.pictures = _copy(sites, series)
        sites.singles = [picture for one in ones for picture in _copy(sites, one)]
        yield sites


def _copy(sites: Sites, series: corpus.Series) -> list[Picture]:
    """Give Orthanc the series in JPEG-LS; return its pictures as the origin sends them, in HTJ2K."""
    reader = Reader(sites.origin.url)
    offsets = _wait_for_renditions(sites.origin, series)
    folder = sites.folder / "encoded" / series.study
    folder.mkdir(parents=True)
    pictures = []
    for number, instance in enumerate(series.instances):
        path = f"/studies/{series.study}/series/{series.series}/instances/{instance}"
        taken = reader.ok(path, f"application/dicom; transfer-syntax={JPEG_LS}")
        (folder / f"{number:05d}.dcm").write_bytes(taken.body)
        frame = reader.ok(path + "/frames/1", FRAMES).body
        pictures.append(Picture(path + "/frames/1", len(frame), offsets[hashlib.sha256(frame).digest()]))
    load.store_files(sites.orthanc.url, sorted(folder.iterdir()))
    theirs = len(Reader(sites.orthanc.url).ok(pictures[0].path, FRAMES).body)
    if not 0.8 < theirs / pictures[0].length < 1.2:
        raise RuntimeError(f"Orthanc sends {theirs} bytes for a frame of {pictures[0].length}: not as it is stored")
    return pictures


def _wait_for_renditions(origin: peers.Server, series: corpus.Series) -> dict[bytes, int]:
    """Return the length of the quarter-resolution prefix of each rendition, by digest, once all are made."""
    reader = Reader(_root(origin))
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        listed = reader.json(f"/api/studies/{series.study}/renditions")
        if len(listed["len"]) == len(series.instances):
            joined = base64.b64decode(listed["digest"])
            digests = [joined[start : start + 32] for start in range(0, len(joined), 32)]
            return {digest: _quarter(offsets) for digest, offsets in zip(digests, listed["off"], strict=True)}
        time.sleep(0.2)
    raise RuntimeError("the origin makes no renditions")


def _quarter(offsets: Sequence[int]) -> int:
    # One for each lower resolution, smallest first: the last is half of rows and columns.
    return offsets[-2]


def _root(server: peers.Server) -> str:
    return server.url.removesuffix("/dicomweb")
