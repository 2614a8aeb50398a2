"""``nearframe dicom find`` and ``worklist``: what a peer has, and what is planned (C-FIND)."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from nearframe.cli import _studies as studies
from nearframe.cli._dicom_peer import add_peer_options, peer_of, timeouts_of
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.scp_worklist import MODALITY_WORKLIST_FIND
from nearframe.dimse.scu import UNCOMPRESSED, Peer, associate
from nearframe.dimse.scu_query import Level, find, identifier_of
from nearframe.errors import ConfigurationError

_DEFAULT_LIMIT: Final = 200
_DATES: Final = re.compile(r"\d{8}(-(\d{8})?)?|-\d{8}")
_STEP: Final = "ScheduledProcedureStepSequence"

#: Shown in this order, and asked for beside what is given; the last is copied.
_SHOWN: Final[Mapping[Level, Sequence[str]]] = {
    Level.PATIENT: ("PatientName", "PatientBirthDate", "PatientSex", "PatientID"),
    Level.STUDY: (
        "StudyDate",
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    Level.SERIES: (
        "SeriesNumber",
        "Modality",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
_OF_STEP: Final = (
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "Modality",
    "ScheduledStationAETitle",
    "ScheduledProcedureStepDescription",
)
_OF_ORDER: Final = ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID")


def add_find(commands: Subparsers) -> None:
    parser = add_parser(
        commands,
        "find",
        "search a peer (C-FIND)",
        "Keys are written KEYWORD=VALUE, or as tags: PatientName=DOE* StudyDate=20240101-20240131 0020000D=1.2.3. "
        "* and ? stand for what is not known; a key without a value is only shown.",
    )
    _add_common(parser)
    parser.add_argument("--level", choices=list(Level), default=None, help="what to search for (study)")
    parser.set_defaults(run=run_find)


def add_worklist(commands: Subparsers) -> None:
    parser = add_parser(
        commands,
        "worklist",
        "see what is planned (Modality Worklist C-FIND)",
        f"Keys are written KEYWORD=VALUE; those of the planned step as {_STEP}.Modality=CT, or by the options.",
    )
    _add_common(parser)
    parser.add_argument(
        "--date", type=_date, default="", metavar="DATE", help="of the step: today, 20240131, or 20240101-20240131"
    )
    parser.add_argument("--modality", default="", metavar="CODE", help="of the step")
    parser.add_argument("--station", default="", metavar="TITLE", help="AE title of the scanner")
    parser.set_defaults(run=run_worklist)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_peer_options(parser)
    parser.add_argument("keys", nargs="*", default=[], metavar="KEY=VALUE", help="what to search for")
    parser.add_argument("--limit", type=int, default=_DEFAULT_LIMIT, metavar="N", help="show at most N (200)")


def run_find(options: argparse.Namespace) -> int:
    keys = keys_of(options.keys)
    level = Level(options.level) if options.level else _level_of(keys)
    shown = _SHOWN[level]
    identifier = identifier_of(dict.fromkeys(shown, "") | keys, level)
    columns = list(dict.fromkeys([*(key for key in keys if key not in shown and "." not in key), *shown]))
    found = _ask(options, level.find_model, identifier)
    return _show(options, found, columns, [[studies.text(one, key) for key in columns] for one in found])


def run_worklist(options: argparse.Namespace) -> int:
    steps = {f"{_STEP}.{key}": "" for key in _OF_STEP}
    given = {
        f"{_STEP}.ScheduledProcedureStepStartDate": options.date,
        f"{_STEP}.Modality": options.modality,
        f"{_STEP}.ScheduledStationAETitle": options.station,
    }
    keys = {**dict.fromkeys(_OF_ORDER, ""), **steps, **given, **keys_of(options.keys)}
    found = _ask(options, MODALITY_WORKLIST_FIND, identifier_of(keys))
    rows = [
        [*(studies.text(_step(one), key) for key in _OF_STEP), *(studies.text(one, key) for key in _OF_ORDER)]
        for one in found
    ]
    return _show(options, found, (*_OF_STEP, *_OF_ORDER), rows)


def _date(written: str) -> str:
    """Read a date or a range of two, as a key of VR DA matches them (PS3.4 section C.2.2.2.5)."""
    if written == "today":
        return f"{datetime.now().astimezone():%Y%m%d}"
    if written and not _DATES.fullmatch(written):
        raise argparse.ArgumentTypeError(f"{written}: expected today, 20240131, or 20240101-20240131")
    return written


def keys_of(given: Sequence[str]) -> dict[str, str]:
    """Read ``KEYWORD=VALUE``; a keyword alone has no value."""
    keys = {}
    for one in given:
        key, _, value = one.partition("=")
        if not key:
            raise ConfigurationError(f"{one}: expected KEYWORD=VALUE, for example PatientID=123")
        keys[key] = value
    return keys


async def find_all(
    peer: Peer, model: str, identifiers: Sequence[DICOMJSON], limit: int, timeouts: Timeouts
) -> list[DICOMJSON]:
    """Return what matches any of several queries, asked one after the other; `limit` at most."""
    found: list[DICOMJSON] = []
    async with associate(peer, [(model, UNCOMPRESSED)], timeouts=timeouts) as user:
        for identifier in identifiers:
            async with aclosing(find(user.requests, model, identifier, by_hand=True)) as matches:
                async for match in matches:
                    found.append(match)
                    if len(found) >= limit:
                        return found
    return found


def _level_of(keys: Mapping[str, str]) -> Level:
    """Return the level at which whoever gives these keys most likely asks."""
    if keys.get("SeriesInstanceUID"):
        return Level.IMAGE
    return Level.SERIES if keys.get("StudyInstanceUID") else Level.STUDY


def _ask(options: argparse.Namespace, model: str, identifier: DICOMJSON) -> list[DICOMJSON]:
    if options.limit < 1:
        raise ConfigurationError("--limit: expected a whole number from 1")
    return asyncio.run(find_all(peer_of(options), model, [identifier], options.limit, timeouts_of(options)))


def _step(found: DICOMJSON) -> dict[str, Any]:
    items = found.get("00400100", {}).get("Value") or [{}]
    return items[0] if isinstance(items[0], dict) else {}


def _show(options: argparse.Namespace, found: list[DICOMJSON], columns: Sequence[str], rows: list[list[str]]) -> int:
    if options.json:
        print_json([studies.plain(one) for one in found])
        return 0
    if not found:
        print("Nothing matches.", file=sys.stderr)
        return 0
    print_table(None, columns, rows)
    if len(found) == options.limit:
        print("There may be more: --limit shows more", file=sys.stderr)
    return 0
