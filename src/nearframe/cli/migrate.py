"""``nearframe migrate``: make a catalogue what another release knows."""

from __future__ import annotations

import argparse
from contextlib import closing
from datetime import UTC, datetime

from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.cli._settings import add_settings, read_as, settings_from
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import COUNT
from nearframe.storage.catalogue import CATALOGUE_FILE
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.catalogue.migrations import LATEST, migrate, take_back
from nearframe.storage.packs.locks import is_owned
from nearframe.units import counted


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "migrate",
        what,
        "A node brings its catalogue forward when it starts; this does so before. With --to it goes back, so that an "
        "older release can be installed again. The node has to be stopped; take a backup first.",
    )
    add_settings(parser, ("node",))
    parser.add_argument(
        "--to", type=read_as(COUNT), default=LATEST, metavar="SCHEMA", help=f"the schema to make (default: {LATEST})"
    )
    parser.add_argument("--discard", action="store_true", help="drop rows that the older release does not know")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    where = settings.database_url or settings.home / CATALOGUE_FILE
    if not settings.database_url and not (settings.home / CATALOGUE_FILE).is_file():
        raise ConfigurationError(f"--home {settings.home}: no catalogue is there")
    if is_owned(settings.home):
        raise ConfigurationError(f"the node of {settings.home} runs: stop it first")
    lost: dict[str, int] = {}
    with closing(open_database(where)) as database:
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
