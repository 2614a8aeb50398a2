"""``nearframe doctor``: say what is wrong with a node, and what to do."""

from __future__ import annotations

import argparse
import contextlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import httpx
from rich.text import Text

from nearframe.cli._client import trust
from nearframe.cli._output import Subparsers, add_json_option, add_parser, console, print_json
from nearframe.cli._settings import add_settings, settings_from
from nearframe.config import Settings
from nearframe.errors import ConfigurationError, UpstreamUnavailable
from nearframe.query.health import State
from nearframe.storage.packs.locks import is_owned
from nearframe.storage.role import role_of
from nearframe.upkeep.doctor.examine import Examined, examine, examined_json, worst
from nearframe.upkeep.doctor.patient import Answer, Patient

#: The same as a node's, so that it can be given the same command line.
_GROUPS: Final = ("node", "network", "dicom", "hl7", "edge", "storage", "object store")
_TIMEOUT: Final = httpx.Timeout(5)
_STYLES: Final = {State.OK: "green", State.DEGRADED: "yellow", State.FAILING: "bold red"}
EXIT_ILL: Final = 1


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "doctor",
        what,
        "Run it on the node's machine, as the node's user, with the node's options; the node may run or not. Nothing "
        "is changed. The exit code is 1 if something is wrong.",
    )
    add_settings(parser, _GROUPS)
    parser.add_argument(
        "--deep", action="store_true", help="of a stopped origin, look up every content that the catalogue speaks of"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    found = []
    for one in examine(_patient(settings, is_deep=options.deep)):
        found.append(one)
        if not options.json:
            _tell(one)
    if options.json:
        print_json(examined_json(found))
    return EXIT_ILL if worst(found) is not State.OK else 0


def _patient(settings: Settings, *, is_deep: bool) -> Patient:
    try:
        role, is_running = role_of(settings.home), is_owned(settings.home)
    except PermissionError as error:
        raise ConfigurationError(
            f"{error.filename} is another user's: run this as the user that runs the node"
        ) from error
    return Patient(settings, role, is_running, datetime.now(UTC), partial(_ask, settings), is_deep)


def _tell(one: Examined) -> None:
    finding = one.finding
    line = Text.assemble(
        (f"{finding.state.word:9}", _STYLES[finding.state]), f"{one.name:12}", finding.reason or one.what
    )
    console().print(line, soft_wrap=True)


def _ask(settings: Settings, url: str, *, is_own: bool) -> Answer:
    # Of this node it is looked at by itself whether its certificate is good.
    verify = False if is_own else trust(settings.upstream_ca)
    try:
        answer = httpx.get(url, timeout=_TIMEOUT, verify=verify)
    except httpx.HTTPError as error:
        raise UpstreamUnavailable(f"{url} does not answer ({type(error).__name__}: {error})") from error
    document, moment = None, None
    with contextlib.suppress(ValueError):
        document = answer.json()
    with contextlib.suppress(ValueError, KeyError):
        moment = parsedate_to_datetime(answer.headers["date"])
    return Answer(document, moment)
