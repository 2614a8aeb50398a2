"""``nearframe study``: list, show, manifest, diff."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import httpx
from rich.text import Text
from rich.tree import Tree

from nearframe.cli import _studies as studies
from nearframe.cli._asking import Node
from nearframe.cli._client import asks_node, node_of
from nearframe.cli._output import Subparsers, add_parser, console, print_json, print_table
from nearframe.cli._values import at_least
from nearframe.dicom.notes import summarise
from nearframe.errors import ConfigurationError
from nearframe.units import counted, format_size
from nearframe.wire.delta import MEDIA_TYPE as DELTA_TYPE
from nearframe.wire.delta import Delta, decode_delta
from nearframe.wire.document import compress
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import MEDIA_TYPE as MANIFEST_TYPE
from nearframe.wire.manifestjson import decode_manifest, manifest_to_json

DEFAULT_LIMIT = 50


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(subparsers, "study", what)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(commands)
    show = add_parser(commands, "show", "print a study as a tree of series, with what it takes")
    _about_study(show, run_show)
    manifest = add_parser(commands, "manifest", "print what identifies a study: its root, frame and header digests")
    manifest.add_argument("--output", type=Path, metavar="FILE", help="write the whole manifest there as JSON")
    _about_study(manifest, run_manifest)
    diff = add_parser(
        commands,
        "diff",
        "print what changed in a study since an earlier root",
        "This is what an edge that holds the earlier state fetches, and what that takes on the line.",
    )
    diff.add_argument("--from", dest="root", required=True, metavar="ROOT", help="an earlier root, 64 hex characters")
    _about_study(diff, run_diff)


def _add_list(commands: Subparsers) -> None:
    parser = add_parser(commands, "list", "list studies, newest first")
    parser.add_argument(
        "filters",
        nargs="*",
        metavar="KEY=VALUE",
        help="search as QIDO-RS does: PatientName=doe* StudyDate=20240101- ModalitiesInStudy=CT",
    )
    parser.add_argument("--fuzzy", action="store_true", help="match names that are written otherwise")
    parser.add_argument(
        "--limit", type=at_least(1), default=DEFAULT_LIMIT, metavar="N", help=f"at most this many ({DEFAULT_LIMIT})"
    )
    parser.add_argument("--offset", type=at_least(0), default=0, metavar="N", help="skip this many")
    asks_node(parser, run_list)


def _about_study(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("study", metavar="STUDY", help="Study Instance UID, or the beginning of one")
    asks_node(parser, run)


# -- list and show ---------------------------------------------------------------------------


def run_list(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        found = studies.search(node, _filters(options))
    if options.json:
        print_json([studies.plain(one) for one in found])
        return 0
    if not found:
        print("No study matches.", file=sys.stderr)
        return 0
    rows = [
        (
            studies.text(one, "StudyDate"),
            studies.text(one, "PatientName"),
            studies.text(one, "PatientID"),
            studies.text(one, "ModalitiesInStudy"),
            studies.text(one, "StudyDescription"),
            studies.text(one, "NumberOfStudyRelatedSeries"),
            studies.text(one, "NumberOfStudyRelatedInstances"),
            studies.text(one, "StudyInstanceUID"),
        )
        for one in found
    ]
    print_table(
        None,
        ("date", "patient", "ID", "modalities", "description", "series>", "instances>", "study instance UID"),
        rows,
    )
    if len(found) == options.limit:
        print(f"There may be more: --offset {options.offset + options.limit}", file=sys.stderr)
    return 0


def _filters(options: argparse.Namespace) -> dict[str, str | int | list[str]]:
    wanted: dict[str, str | int | list[str]] = {"limit": options.limit, "offset": options.offset}
    if options.fuzzy:
        wanted["fuzzymatching"] = "true"
    for given in options.filters:
        key, equals, value = given.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"{given}: expected KEY=VALUE, for example PatientID=123")
        wanted[key] = value
    return wanted


def run_show(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        study = studies.find(node, options.study)
        series = studies.series_of(node, study)
        manifest = _manifest(node, study)
    sizes = studies.sizes_of(manifest)
    notes = summarise(entry.notes for entry in manifest.entries)
    if options.json:
        noted = [{"code": code, "meaning": meaning, "instances": count} for code, meaning, count in notes]
        described = [studies.plain(one) | sizes[studies.text(one, "SeriesInstanceUID")].as_json() for one in series]
        print_json(studies.plain(study) | {"root": manifest.root.hex(), "series": described, "notes": noted})
        return 0
    tree = Tree(_heading(study))
    tree.add(f"root {manifest.root.hex()}")
    for one in series:
        size = sizes[studies.text(one, "SeriesInstanceUID")]
        branch = tree.add(_series_line(one))
        counts = f"{counted(size.instances, 'instance')}, {counted(size.frames, 'frame')}"
        branch.add(f"{counts}, {format_size(size.frame_bytes)} of pixels")
        branch.add(Text(size.syntaxes))
        branch.add(Text(studies.text(one, "SeriesInstanceUID")))
    if notes:
        branch = tree.add("worth knowing")
        for _, meaning, count in notes:
            branch.add(Text(f"{meaning} ({counted(count, 'instance')})"))
    console().print(tree)
    return 0


def _heading(study: studies.Found) -> Text:
    words = [studies.text(study, key) for key in ("PatientName", "PatientID", "StudyDate", "StudyDescription")]
    return Text("  ".join(word for word in words if word) or studies.text(study, "StudyInstanceUID"), style="bold")


def _series_line(series: studies.Found) -> Text:
    words = [studies.text(series, key) for key in ("SeriesNumber", "Modality", "SeriesDescription", "BodyPartExamined")]
    return Text("  ".join(word for word in words if word))


# -- manifest and diff -----------------------------------------------------------------------


def run_manifest(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        manifest = _manifest(node, studies.find(node, options.study))
    document = manifest_to_json(manifest)
    if options.output:
        options.output.write_text(studies.dumps(document), encoding="utf-8")
    if options.json:
        print_json(document)
        return 0
    sizes = studies.sizes_of(manifest)
    print(f"root         {manifest.root.hex()}")
    for name in ("instances", "frames", "frame_bytes"):
        total = sum(getattr(size, name) for size in sizes.values())
        print(f"{name.replace('_', ' '):12} {format_size(total) if name.endswith('bytes') else total}")
    on_line = len(compress(studies.dumps(document).encode()))
    print(f"on the line  {format_size(on_line)}")
    return 0


def run_diff(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        study = studies.find(node, options.study)
        path = f"/api/studies/{studies.text(study, 'StudyInstanceUID')}/delta"
        answer = node.get(path, {"from": options.root}, accept=DELTA_TYPE)
    if answer.status_code == httpx.codes.NOT_MODIFIED:
        print_json({"changed": False}) if options.json else print("Nothing has changed.")
        return 0
    delta = decode_delta(_compressed(answer))
    summary = _summary(delta, int(answer.headers.get("content-length", 0)))
    if options.json:
        print_json(summary)
        return 0
    for name, value in summary.items():
        shown = format_size(value) if isinstance(value, int) and name.endswith("bytes") else value
        print(f"{name.replace('_', ' '):18} {shown}")
    for operation in delta.patch[1:]:
        print(f"  {operation['op']:8} {operation['path']}")
    return 0


def _summary(delta: Delta, bytes_on_line: int) -> dict[str, Any]:
    return {
        "changed": True,
        "from": delta.old_root.hex(),
        "to": delta.new_root.hex(),
        "bytes": bytes_on_line,
        "metadata_changes": max(len(delta.patch) - 1, 0),  # the first operation tests the root
        "header_edits": len(delta.edits),
        "edited_instances": sum(_count(runs) for _, runs in delta.edits),
        "whole_headers": _count(delta.blobs.at) if delta.blobs else 0,
        "dropped_instances": _count(delta.dropped),
        "added_instances": studies.added_instances(delta),
    }


def _count(runs: tuple[tuple[int, int], ...]) -> int:
    return sum(stop - start for start, stop in runs)


def _manifest(node: Node, study: studies.Found) -> Manifest:
    path = f"/api/studies/{studies.text(study, 'StudyInstanceUID')}/manifest"
    return decode_manifest(_compressed(node.get(path, accept=MANIFEST_TYPE)))


def _compressed(answer: httpx.Response) -> bytes:
    # The client has opened the Content-Encoding; the readers take documents as they are stored.
    return compress(answer.content)
