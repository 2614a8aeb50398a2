"""``nearframe demo``: the main job on real input, in one command."""

from __future__ import annotations

import argparse
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.panel import Panel

from nearframe.cli._output import Subparsers, add_json_option, add_parser, console, print_json, print_table
from nearframe.demo import scenario
from nearframe.demo.nodes import DemoNode
from nearframe.demo.scenario import Report
from nearframe.errors import ConfigurationError
from nearframe.units import counted, format_size

ORIGIN = "127.0.0.1:8042"
EDGE = "127.0.0.1:8043"


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "demo",
        what,
        "A study goes in, is read through the edge, is corrected without moving a pixel, and is read again with the "
        "origin cut off. Afterwards the study page stays up until you press Ctrl-C.",
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder of DICOM files (default: those that pydicom carries)"
    )
    parser.add_argument("--exit", action="store_true", help="end after the report instead of leaving the page up")
    parser.add_argument(
        "--home",
        type=Path,
        metavar="FOLDER",
        help="keep the nodes' homes here (default: a folder that goes with the demo)",
    )
    parser.add_argument("--origin-http", default=ORIGIN, metavar="HOST:PORT", help=f"default: {ORIGIN}")
    parser.add_argument("--edge-http", default=EDGE, metavar="HOST:PORT", help=f"default: {EDGE}")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    data = options.data or scenario.packaged_data()
    if not data.exists():
        raise ConfigurationError(f"--data: {data} does not exist")
    with _home(options.home) as home:
        origin = DemoNode("origin", home / "origin", options.origin_http)
        edge = DemoNode("edge", home / "edge", options.edge_http, ["--upstream", f"http://{options.origin_http}"])
        try:
            report = _play(origin, edge, data, quiet=options.json)
            if options.json:
                print_json(report.as_json())
            else:
                _show(report)
            if not options.exit:
                _leave_up(origin, edge)
        finally:
            edge.stop()
            origin.stop()
    return 0


@contextmanager
def _home(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="nearframe-demo-") as scratch:
        yield Path(scratch)


def _play(origin: DemoNode, edge: DemoNode, data: Path, *, quiet: bool) -> Report:
    if quiet:
        return scenario.run(origin, edge, data, lambda _: None)
    out = console()
    with out.status("") as spinner:

        def say(step: str) -> None:
            out.print(f"  [dim]·[/dim] {step}")
            spinner.update(f"{step} …")

        return scenario.run(origin, edge, data, say)


def _show(report: Report) -> None:
    print()
    print_table(
        "A corrected patient name, from origin to edge",
        ("", "bytes>", "frames>"),
        (
            (
                f"the study ({counted(report.corrected_instances, 'instance')})",
                format_size(report.study_bytes),
                report.frames_opened,
            ),
            ("moved for the correction", format_size(report.correction_bytes), report.correction_frames),
            ("not moved", f"{report.saved_ratio:.3%}", ""),
        ),
    )
    print()
    print_table(
        "First byte of a frame, median of one reader on this machine",
        ("", "ms>"),
        (
            ("origin", f"{report.first_byte_origin_ms:.2f}"),
            ("edge, first time", f"{report.first_byte_edge_cold_ms:.2f}"),
            ("edge, held", f"{report.first_byte_edge_warm_ms:.2f}"),
            ("edge, origin gone", f"{report.first_byte_without_origin_ms:.2f}"),
        ),
    )
    print()
    print_table("Same and similar pictures in this archive", ("", "frames>", "bytes>"), _dedupe_rows(report))
    print()
    exact = f"{report.byte_exact_instances} of {counted(report.corrected_instances, 'instance')}"
    console().print(
        f"{exact} byte-exact at the edge after the correction; {report.frames_served_without_origin} of "
        f"{counted(report.frames_opened, 'frame')} served with the origin gone."
    )


def _dedupe_rows(report: Report) -> Iterator[tuple[str, str, str]]:
    labels = {
        "exact_duplicates": "exact duplicates (stored once)",
        "metadata_only": "metadata-only changes (no pixels stored)",
        "same_pixels": "same pixels, other encoding",
        "perceptual_candidates": "perceptual candidates (proposed, never merged)",
    }
    for key, label in labels.items():
        found = report.dedupe.get(key)
        if found is not None:
            yield label, str(found.get("frames", found.get("pairs", ""))), format_size(found.get("bytes", 0))


def _leave_up(origin: DemoNode, edge: DemoNode) -> None:
    out = console()
    out.print()
    out.print(
        Panel.fit(
            f"Study page at the edge    {edge.url}/\nStudy page at the origin  {origin.url}/\n"
            f"DICOMweb                  {edge.url}/dicomweb\n\nCtrl-C ends both nodes.",
            title="nearframe is up",
            border_style="cyan",
        )
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        out.print("Stopping both nodes …")
