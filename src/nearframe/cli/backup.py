"""``nearframe backup``: keep what an archive holds now."""

from __future__ import annotations

import argparse
import os

from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.cli._points import point_json
from nearframe.cli._progress import bytes_bar
from nearframe.cli._settings import add_setting, read_as, settings_from
from nearframe.cli._vaults import PLACE, open_vault
from nearframe.clock import SystemClock
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import COUNT, SIZE
from nearframe.units import counted, format_size
from nearframe.upkeep.backup.point import PointKeys
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.backup.take import Progress, Taken, root_key_of, take_backup
from nearframe.upkeep.service import LOWEST_PRIORITY, Pace


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "backup",
        what,
        "Run it on the machine of the archive, as the same user; the node may serve meanwhile. Each backup can be "
        "restored by itself and adds only what is new. The root key (keys/root.key in the home) is not in it: keep a "
        "copy of that apart, since nothing can be read without it.",
    )
    add_setting(parser, "home", ("object store",))
    parser.add_argument("--into", required=True, metavar=PLACE, help="where backups are kept")
    parser.add_argument(
        "--keep",
        type=read_as(COUNT),
        default=0,
        metavar="COUNT",
        help="keep the last COUNT backups, and remove older ones",
    )
    parser.add_argument(
        "--rate", type=read_as(SIZE), default=0, metavar="SIZE", help="bytes a second to read at most, such as 50 MB"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    if settings.database_url:
        raise ConfigurationError(
            "the catalogue is in PostgreSQL, which its own tools back up: run pg_dump first, then copy the home"
        )
    if settings.s3_url:
        raise ConfigurationError(
            "the contents are in a bucket, which its own means back up (versions, replication): keep those, then the "
            "database by its own tools, then the root key"
        )
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    with (
        open_vault(options.into, settings, writes=True) as vault,
        bytes_bar(hidden=options.quiet or options.json) as show,
    ):
        taken = take_backup(settings.home, vault, SystemClock(), _paced(show, options.rate))
        removed = Points(vault, PointKeys(root_key_of(settings.home))).keep_last(options.keep) if options.keep else 0
    if options.json:
        print_json(point_json(taken.point) | {"written_bytes": taken.written_bytes, "removed": removed})
    else:
        _tell(taken, removed)
    return 0


def _paced(show: Progress, rate_bytes: int) -> Progress:
    pace = Pace(rate_bytes)
    done_before = 0

    def paced(what: str, done: int, total: int) -> None:
        nonlocal done_before
        pace(done - done_before)
        done_before = done
        show(what, done, total)

    return paced


def _tell(taken: Taken, removed: int) -> None:
    point = taken.point
    print(
        f"{point.name}: {counted(point.holds.studies, 'study')}, {counted(point.holds.instances, 'instance')}, "
        f"{format_size(point.length)}, of which {format_size(taken.written_bytes)} were written"
    )
    if removed:
        print(f"{counted(removed, 'older backup')} removed")
