"""``nearframe restore``: bring an archive back from a backup."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Final

from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json, print_table
from nearframe.cli._points import point_json
from nearframe.cli._progress import bytes_bar
from nearframe.cli._settings import add_setting, settings_from
from nearframe.cli._vaults import PLACE, open_vault
from nearframe.storage.packs.keys import read_root_key
from nearframe.units import counted, format_size
from nearframe.upkeep.backup.point import PointKeys
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.backup.restore import Restored, prove_point, restore, restore_catalogue
from nearframe.upkeep.backup.since import Since

EXIT_DAMAGED: Final = 1


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "restore",
        what,
        "Everything is compared with its digest. The restored archive begins a new change feed, by which its edges "
        "compare what they hold with it. The exit code is 1 if something could not be brought back.",
    )
    parser.add_argument("--from", dest="vault", required=True, metavar=PLACE, help="where backups are")
    parser.add_argument("--root-key", type=Path, required=True, metavar="FILE", help="copy of the archive's root key")
    parser.add_argument("--at", metavar="TIME", help="the last backup at or before a time (default: the last one)")
    add_setting(parser, "home", ("object store",))
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the backups, and do nothing else")
    instead.add_argument(
        "--only-catalogue", action="store_true", help="bring back the catalogue alone, beside packs that are whole"
    )
    instead.add_argument("--check", action="store_true", help="read and prove the backup, and do nothing else")
    parser.add_argument(
        "--hide-purged",
        action="store_true",
        help="with --at, take what the archive had purged since out of view again",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    root_key = read_root_key(options.root_key)
    with open_vault(options.vault, settings_from(options)) as vault:
        points = Points(vault, PointKeys(root_key))
        if options.list:
            return _list(points, as_json=options.json)
        if options.check:
            return _check(points, options)
        return _restore(points, root_key, options)


def _list(points: Points, *, as_json: bool) -> int:
    found = [points.load(name) for name in points.names()]
    if as_json:
        print_json([point_json(point) for point in found])
    else:
        rows = [(p.name, p.holds.studies, p.holds.instances, format_size(p.length), p.release) for p in found]
        print_table(None, ("backup", "studies>", "instances>", "size>", "release"), rows)
    return 0


def _check(points: Points, options: argparse.Namespace) -> int:
    point = points.at(options.at)
    with bytes_bar(hidden=options.quiet or options.json) as show:
        damaged = prove_point(points, point, show)
    if options.json:
        print_json(point_json(point) | {"damaged": damaged})
    else:
        print(
            f"{point.name}: {format_size(point.length)}, " + (f"{damaged} blobs are damaged" if damaged else "proved")
        )
    return EXIT_DAMAGED if damaged else 0


def _restore(points: Points, root_key: bytes, options: argparse.Namespace) -> int:
    home = settings_from(options).home
    with bytes_bar(hidden=options.quiet or options.json) as show:
        bring_back = restore_catalogue if options.only_catalogue else restore
        point = points.at(options.at)
        restored = bring_back(points, point, root_key, home, show, hides_purged=options.hide_purged)
    if options.json:
        proved = {"scrub": asdict(restored.scrubbed), "check": asdict(restored.checked)}
        print_json(point_json(restored.point) | proved | {"since": _since_json(restored.since)})
    else:
        _tell(restored)
    return 0 if restored.is_whole else EXIT_DAMAGED


def _tell(restored: Restored) -> None:
    point = restored.point
    held = f"{counted(point.holds.studies, 'study')} and {counted(point.holds.instances, 'instance')}"
    print(f"{point.name}: {held} are back")
    if restored.scrubbed.contents:
        proved = restored.scrubbed
        print(f"{counted(proved.contents, 'content')} proved, {format_size(proved.read_bytes)}")
    if not restored.is_whole:
        print(
            f"{counted(restored.checked.incomplete, 'version')} lost "
            f"{counted(restored.checked.contents, 'content')}: store those objects again, or restore another backup"
        )
    if restored.since is None:
        print(f"what was deleted, purged or put on hold after {point.taken_at:%Y-%m-%d %H:%M} UTC is in no backup")
    else:
        _tell_since(restored.since)


def _tell_since(since: Since) -> None:
    until = f"between this backup and the last one, of {since.until:%Y-%m-%d %H:%M} UTC"
    if since.corrections:
        print(f"{counted(since.corrections, 'correction')} were made {until}: they are not in it")
    if since.purged:
        print(f"of {counted(len(since.purged), 'study')} something was purged {until}, and came back with it:")
        for study in since.purged:
            print(f"  {study.study_instance_uid}")
        if since.hidden:
            print(f"{counted(since.hidden, 'instance')} of them are out of view again: nearframe correct purge ends it")
        else:
            print("nearframe correct delete takes it out of view, and so does a restore with --hide-purged")
    if since.holds_placed:
        print(f"{counted(since.holds_placed, 'legal hold')} placed {until} stand again")
    if since.holds_lost:
        print(f"{counted(since.holds_lost, 'legal hold')} placed {until} are on what this backup does not have")
    if since.holds_standing:
        print(f"{counted(since.holds_standing, 'legal hold')} released {until} stand again: release them")


def _since_json(since: Since | None) -> dict[str, object] | None:
    if since is None:
        return None
    purged = [{"tenant": study.tenant, "study": study.study_instance_uid} for study in since.purged]
    return asdict(since) | {"until": since.until.isoformat(), "purged": purged}
