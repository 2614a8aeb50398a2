"""``nearframe migrate``: make a catalogue what another release knows, or carry it into PostgreSQL."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from nearframe.cli._client import add_ca_cert, add_url, client_of
from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.cli._progress import rows_bar
from nearframe.cli._settings import add_settings, read_as, settings_from
from nearframe.config import Settings
from nearframe.errors import ConfigurationError, DatabaseAway, NearframeError
from nearframe.settingkinds import COUNT, DATABASE_URL
from nearframe.storage.catalogue import CATALOGUE_FILE
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.migrations import LATEST, go_on_here, migrate, take_back
from nearframe.storage.packs.locks import is_owned
from nearframe.units import counted, format_size
from nearframe.upkeep.convert import Contents, Converted, bucket_beside, convert
from nearframe.upkeep.nodes import NodeCopies

_REFUSAL: Final = "failed: FATAL:"
#: Refusals that time mends: a server that starts, stops or is full.
_PASSING: Final = ("starting up", "shutting down", "recovery", "too many clients", "slots are reserved", "terminating")


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "migrate",
        what,
        "A node brings its catalogue forward when it starts; this does so before. With the number of a schema it goes "
        "back, so that an older release can be installed again: the node has to be stopped; take a backup first. With "
        "the URL of an empty PostgreSQL database it carries the catalogue there while the node serves; run again, it "
        "carries what came since. With --switch that becomes the archive: the node reads on, and takes nothing in, "
        "until origins serve what was made and it is stopped.",
    )
    add_settings(parser, ("node", "object store"))
    parser.add_argument(
        "--to",
        type=_place,
        default=LATEST,
        metavar="SCHEMA|URL",
        help=f"the schema to make (default: {LATEST}), or postgresql://user@host/database",
    )
    parser.add_argument("--discard", action="store_true", help="drop rows that the older release does not know")
    parser.add_argument("--switch", action="store_true", help="with a database, make that the archive")
    parser.add_argument(
        "--take-back",
        action="store_true",
        help="serve again from the catalogue in the home, which was carried elsewhere",
    )
    parser.add_argument(
        "--contents",
        metavar="s3://BUCKET/PREFIX",
        help="with a database, carry the contents too, into a bucket; they come from the node at --url while it runs",
    )
    add_url(parser)
    add_ca_cert(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def _place(text: str) -> int | str:
    return read_as(DATABASE_URL)(text) if "://" in text else read_as(COUNT)(text)


def run(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    if options.take_back:
        return _go_on_here(settings)
    return _convert(settings, options) if isinstance(options.to, str) else _migrate(settings, options)


def _convert(settings: Settings, options: argparse.Namespace) -> int:
    if settings.database_url or settings.s3_url:
        raise ConfigurationError(
            "database_url or s3_url is set: this carries what is in a home to where they will point"
        )
    with rows_bar(hidden=options.json) as progress, client_of(options) as client:
        contents = None
        if options.contents:
            carried = replace(settings, s3_url=options.contents, database_url=options.to)
            contents = Contents(partial(bucket_beside, carried), NodeCopies(client, Path(tempfile.gettempdir())))
        try:
            done = convert(settings.home, options.to, progress, contents, switch=options.switch)
        except DatabaseAway as error:
            raise _explained(error) from error
    if options.json:
        print_json(asdict(done))
    else:
        _tell(done, "--database-url and --s3-url" if contents else "--database-url")
    return 0


def _explained(error: DatabaseAway) -> NearframeError:
    """Return an error with the driver's reason: it names database and user, which whoever types them may see."""
    reason = " ".join(str(getattr(error.__cause__, "orig", "")).split())
    if not reason:
        return error
    # To one who connects libpq gives no SQLSTATE: the server's own refusals are what is marked as fatal.
    if _REFUSAL in reason and not any(words in reason for words in _PASSING):
        return ConfigurationError(f"--to: PostgreSQL refuses us there: {reason}")
    return DatabaseAway(f"{error} ({reason})")


def _tell(done: Converted, where: str) -> None:
    carried = done.carried
    if carried.contents:
        print(f"{counted(carried.contents, 'content')}, {format_size(carried.size_bytes)}, carried into the bucket")
    if carried.not_locked:
        print(
            f"{counted(carried.not_locked, 'study')} on legal hold: the bucket has no object lock, so that only the "
            "catalogue keeps them"
        )
    if not done.switched:
        print(
            f"{counted(done.rows, 'row')} are in the database. The node goes on as before: run this again with "
            "--switch when the archive is to be there"
        )
        return
    print(
        f"{counted(done.rows, 'row')} are in the database, each compared with the one it came from. The node reads on "
        f"and takes nothing in, for {done.refusing_s:.1f} s by now: start an origin with {where}, send clients there, "
        "then stop the node"
    )


def _go_on_here(settings: Settings) -> int:
    with closing(_stopped(settings)) as database:
        go_on_here(database, datetime.now(UTC))
    print("a node may be started from this catalogue again; see that none is left that serves the other one")
    return 0


def _stopped(settings: Settings) -> Database:
    """Open the catalogue of a node that is stopped."""
    where = settings.database_url or settings.home / CATALOGUE_FILE
    if not settings.database_url and not (settings.home / CATALOGUE_FILE).is_file():
        raise ConfigurationError(f"--home {settings.home}: no catalogue is there")
    if is_owned(settings.home):
        raise ConfigurationError(f"the node of {settings.home} runs: stop it first")
    return open_database(where)


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    lost: dict[str, int] = {}
    with closing(_stopped(settings)) as database:
        if options.to == LATEST:
            migrate(database, datetime.now(UTC), may_create=False)
        else:
            lost = take_back(database, options.to, datetime.now(UTC), discard=options.discard)
    if options.json:
        print_json({"schema": options.to, "discarded": lost})
    else:
        print(f"the catalogue has schema {options.to}")
        for table, count in lost.items():
            print(f"{counted(count, 'row')} of {table} dropped")
    return 0
