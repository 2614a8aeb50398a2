"""What a study costs on an edge's line, workload by workload: ``python -m bench.carriage [DATA] [--only TEXT]``.

A reader at an edge has opened a first set; then a second comes to the archive, and the
reader opens that: its metadata, and each frame in turn, as a viewer asks for them. The line
is real (namespaces, TCP, TLS), the edge and the archive are ours, in their usual settings.

Columns: frames; bytes of the files; of the frames as the archive sends them to whoever takes
any encoding, HTJ2K mostly; what the edge took over the line for frames by its own counter,
recipes included; all that passed, with headers, manifests, TLS and TCP; the share of the
direct column that was saved; recipes by operation.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import ssl
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import network, peers
from bench.bottleneck import Line
from bench.consult import Replay
from bench.network import FAR_ADDRESS, WIDE, Network
from bench.reader import Reader
from bench.studies import studies_folder
from bench.workload import Step, Workload, objects_in, study_of
from nearframe.wire.framerecipe import Operation

_OPERATIONS: Final = frozenset(operation.name.lower() for operation in Operation)
_ROUND_TRIP_S: Final = 0.04
_PATIENCE_S: Final = 120.0
_METRIC: Final = re.compile(r'nearframe_(upstream_bytes|recipes_followed)_total\{(?:kind|operation)="(\w+)"\} (\S+)')

#: Name, what the reader has opened before, what is opened then; all below the folder of studies.
SETS: Final[tuple[tuple[str, str, str], ...]] = (
    ("MR, new", "", "patient-timeline/1-mr-20180107-original-cd"),
    (
        "MR, imported by a second hospital",
        "patient-timeline/1-mr-20180107-original-cd",
        "patient-timeline/2-mr-20180107-imported-by-second-hospital",
    ),
    ("MR six days later", "patient-timeline/1-mr-20180107-original-cd", "patient-timeline/3-mr-20180113"),
    ("CT of the same spine", "patient-timeline/3-mr-20180113", "patient-timeline/4-ct-20180201"),
    ("enhanced MR, rewritten by a PACS", "pacs-rewrite-agfa/Siemens", "pacs-rewrite-agfa/Agfa"),
    ("MR, classic then enhanced", "classic-vs-enhanced-philips/cl", "classic-vs-enhanced-philips/enh"),
    ("US and XA cine", "", "cine"),
    ("fMRI, 10 volumes", "", "fmri-repeats"),
    ("colour stills", "", "colour-stills/deid-data"),
)


@dataclass(slots=True)
class Row:
    """One line of the table; bytes."""

    name: str
    frames: int = 0
    files: int = 0
    direct: int = 0
    came: int = 0
    passed: int = 0
    operations: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        used = ", ".join(f"{name} {count}" for name, count in self.operations.most_common())
        saved = f"{1 - self.came / self.direct:.1%}".replace("-0.0%", "0.0%")
        return (
            f"{self.name:<36}{self.frames:>7}{self.files:>13,}{self.direct:>13,}{self.came:>13,}{self.passed:>13,}"
            f"{saved:>8}  {used or 'none'}"
        )


def measure(line: Network, megabits: float, data: Path, name: str, held: str, sent: str) -> Row:
    """Replay one workload on empty nodes."""
    sets = {key: objects_in(data, {"data": source}) for key, source in (("held", held), ("sent", sent)) if source}
    studies = {key: tuple(sorted({study_of(file) for file in files})) for key, files in sets.items()}
    work = Workload(megabits, _ROUND_TRIP_S, sets, studies, ())
    row = Row(name)
    line.shape(WIDE)
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as home, contextlib.ExitStack() as stack:
        folder = Path(home)
        tls = peers.self_signed(folder / "tls", FAR_ADDRESS)
        origin = stack.enter_context(peers.origin(folder / "origin", tls=tls, place=line.far))
        edge = stack.enter_context(peers.edge(folder / "edge", origin, tls=tls))
        line.shape(Line(megabits * 1e6, _ROUND_TRIP_S))
        replay = Replay(line, work, folder, origin, edge.url)
        if held:
            replay.play(Step("archive", "held"))
            wait_until_followed(edge, origin)
            replay.play(Step("open", "held", "reader"))
        before, passed = counted(edge.url), line.traffic()
        replay.play(Step("archive", "sent"))
        wait_until_followed(edge, origin)
        replay.play(Step("open", "sent", "reader"))
        row.passed = line.traffic().since(passed).bytes
        came = counted(edge.url) - before
        row.came = came.pop("frame", 0) + came.pop("recipe", 0)
        row.operations = Counter({name: count for name, count in came.items() if name in _OPERATIONS})
        line.shape(WIDE)
        direct = Replay(line, work, folder, origin, origin.url)
        direct.play(Step("open", "sent", "reader"))
        row.frames, row.direct = len(direct.result.frame_ms), direct.result.frame_bytes
        row.files = sum(map(len, sets["sent"]))
    return row


def wait_until_followed(edge: peers.Server, origin: peers.Server) -> None:
    """Return once an edge knows all that its archive was sent."""
    ours, theirs = (Reader(server.url.removesuffix("/dicomweb")) for server in (edge, origin))
    head = theirs.json("/api/status")["feed"]["head"]
    deadline = time.monotonic() + _PATIENCE_S
    while ours.json("/api/status")["upstream"]["cursor"] != head:
        if time.monotonic() > deadline:
            raise RuntimeError("the edge does not follow its archive")
        time.sleep(0.1)
    for reader in (ours, theirs):
        reader.close()


def counted(url: str) -> Counter[str]:
    """Return what an edge says came over its line: bytes by kind, recipes by operation."""
    context = ssl._create_unverified_context()  # noqa: S323 - a certificate made a moment ago
    with urllib.request.urlopen(url.removesuffix("dicomweb") + "metrics", context=context) as answer:  # noqa: S310
        return Counter({name: int(float(value)) for _, name, value in _METRIC.findall(answer.read().decode())})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=studies_folder(), help="folder of real studies")
    parser.add_argument("--megabits", type=float, default=10, help="what the line carries a second")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    options = parser.parse_args()
    if options.data is None:
        print("python -m bench.carriage needs the folder of real studies: name it, or set NEARFRAME_TEST_DATA")
        return 0
    network.move_in("bench.carriage")
    print(f"a line of {options.megabits:g} Mbit/s and {_ROUND_TRIP_S * 1e3:g} ms; bytes\n")
    print(f"{'':<36}{'frames':>7}{'files':>13}{'direct':>13}{'edge':>13}{'line':>13}{'saved':>8}  recipes")
    with network.two_sites() as line:
        for name, held, sent in SETS:
            if options.only in name:
                print(measure(line, options.megabits, options.data, name, held, sent), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
