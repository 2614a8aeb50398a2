"""``nearframe report``: what an archive holds more than once."""

from __future__ import annotations

import argparse
from typing import Any, Final

from nearframe.cli._client import asks_node, node_of
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.units import format_size

#: What digests prove, and then what only looks the same.
_PROVED: Final = (
    ("exact_duplicates", "the same bytes, stored once"),
    ("metadata_only", "another header, no pixels stored again"),
    ("same_pixels", "the same pixels in another encoding"),
)
_LISTED: Final = 20


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(subparsers, "report", what)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    dedupe = add_parser(
        commands,
        "dedupe",
        "what is held more than once, and the bytes of it",
        "Exact duplicates and changes of metadata are proved by digests. Perceptual candidates only look the same: "
        "they are for people to compare, and nothing is ever merged, served or deleted because of them.",
    )
    asks_node(dedupe, run)


def run(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        report: dict[str, Any] = node.json("/api/reports/dedupe")
    if options.json:
        print_json(report)
        return 0
    print(f"{report['frames']} frames, {format_size(report['bytes'])}; {format_size(report['saved_bytes'])} not stored")
    print()
    rows = [(label, *_counts(report[name])) for name, label in _PROVED]
    print_table("Proved by digest", ("", "instances>", "frames>", "bytes>"), rows)
    print()
    candidates = report["perceptual_candidates"]
    title = f"Look the same, not proved: {candidates['pairs']} pairs of series ({format_size(candidates['bytes'])})"
    print_table(title, ("modality", "frames>", "share>", "distance>", "series", "and series UID"), _pairs(candidates))
    if len(candidates["series"]) > _LISTED:
        print(f"… and {len(candidates['series']) - _LISTED} more; --json lists them")
    return 0


def _counts(found: dict[str, Any]) -> tuple[object, ...]:
    return found["instances"], found["frames"], format_size(found["bytes"])


def _pairs(candidates: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            pair["modality"],
            pair["frames"],
            f"{pair['share']:.0%}",
            f"{pair['median_distance']:g}",
            pair["series_instance_uid"],
            pair["other_series_instance_uid"],
        )
        for pair in candidates["series"][:_LISTED]
    ]
