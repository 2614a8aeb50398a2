"""``nearframe dicom get`` and ``move``: have a peer send what it has, here or to a third one."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from nearframe.cli import _studies as studies
from nearframe.cli._dicom_peer import add_peer_options, peer_of, timeouts_of
from nearframe.cli._dicom_query import find_all
from nearframe.cli._output import Subparsers, add_parser, print_json
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.scu import UNCOMPRESSED, associate
from nearframe.dimse.scu_get import Folder, get
from nearframe.dimse.scu_query import Level, Retrieved, identifier_of, retrieve
from nearframe.dimse.status import Status
from nearframe.errors import ConfigurationError, NearframeError, UpstreamError
from nearframe.settingkinds import AE_TITLE
from nearframe.units import counted

EXIT_FAILED: Final = 1
_MANY: Final = 100_000


def add_get(commands: Subparsers) -> None:
    parser = add_parser(
        commands,
        "get",
        "bring what a peer has into a folder (C-GET)",
        "Objects come on the association that we ask for, so the peer need not reach us.",
    )
    _add_common(parser)
    parser.add_argument("--into", required=True, type=Path, metavar="DIR", help="the folder for the files")
    parser.set_defaults(run=run_get)


def add_move(commands: Subparsers) -> None:
    parser = add_parser(
        commands,
        "move",
        "have a peer send what it has to a third (C-MOVE)",
        "The peer must know the destination's AE title, with host and port.",
    )
    _add_common(parser)
    parser.add_argument("--to", required=True, metavar="TITLE", help="AE title of the destination")
    parser.set_defaults(run=run_move)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_peer_options(parser, timeout_s=600)
    parser.add_argument("study", nargs="?", default="", metavar="STUDY", help="Study Instance UID")
    parser.add_argument("--series", default="", metavar="UID", help="of this series only")
    parser.add_argument("--instance", default="", metavar="UID", help="this instance only; needs --series")
    parser.add_argument("--patient", default="", metavar="ID", help="instead of a study: all of a patient")


def run_get(options: argparse.Namespace) -> int:
    try:
        folder = Folder(options.into)
    except OSError as error:
        raise ConfigurationError(f"--into {options.into}: {error.strerror}") from error
    ended = asyncio.run(_follow(_get(options, folder)))
    what = f"{counted(folder.files, 'file')} in {options.into}"
    return _tell(options, ended, folder.files, what, {"files": folder.files})


def run_move(options: argparse.Namespace) -> int:
    try:
        destination = AE_TITLE.read(options.to)
    except ValueError as error:
        raise ConfigurationError(f"--to: {error}") from error
    ended = asyncio.run(_follow(_move(options, destination)))
    what = f"{counted(ended.completed, 'instance')} sent to {destination}"
    return _tell(options, ended, ended.completed, what, {})


async def _get(options: argparse.Namespace, folder: Folder) -> AsyncGenerator[Retrieved, None]:
    level, identifier = _named(options)
    classes = await _sop_classes(options) if options.study else []
    async with aclosing(get(peer_of(options), level, identifier, folder, classes, timeouts_of(options))) as steps:
        async for step in steps:
            yield step


async def _move(options: argparse.Namespace, destination: str) -> AsyncGenerator[Retrieved, None]:
    level, identifier = _named(options)
    contexts = [(level.move_model, UNCOMPRESSED)]
    async with (
        associate(peer_of(options), contexts, timeouts=timeouts_of(options)) as user,
        aclosing(retrieve(user.requests, level.move_model, identifier, destination)) as steps,
    ):
        async for step in steps:
            yield step


def _named(options: argparse.Namespace) -> tuple[Level, DICOMJSON]:
    """Return the level, and its unique keys (PS3.4 section C.4.2.2.1)."""
    if bool(options.study) == bool(options.patient) or (options.instance and not options.series):
        raise ConfigurationError("expected a study, or --patient; --instance comes with --series")
    if options.patient:
        return Level.PATIENT, identifier_of({"PatientID": options.patient}, Level.PATIENT)
    keys = {"StudyInstanceUID": options.study}
    keys |= {"SeriesInstanceUID": options.series} if options.series else {}
    keys |= {"SOPInstanceUID": options.instance} if options.instance else {}
    level = (Level.STUDY, Level.SERIES, Level.IMAGE)[len(keys) - 1]
    return level, identifier_of(keys, level)


async def _sop_classes(options: argparse.Namespace) -> list[str]:
    """Return what the study is made of, so that each kind is asked for as it is stored; nothing if it does not say."""
    peer, timeouts = peer_of(options), timeouts_of(options)
    wanted = {"StudyInstanceUID": options.study, "SeriesInstanceUID": options.series}
    try:
        series = [options.series]
        if not options.series:
            query = identifier_of(wanted, Level.SERIES)
            found = await find_all(peer, Level.SERIES.find_model, [query], _MANY, timeouts)
            series = [studies.text(one, "SeriesInstanceUID") for one in found]
        queries = [
            identifier_of(wanted | {"SeriesInstanceUID": uid, "SOPInstanceUID": "", "SOPClassUID": ""}, Level.IMAGE)
            for uid in series
        ]
        images = await find_all(peer, Level.IMAGE.find_model, queries, _MANY, timeouts)
    except NearframeError:
        return []  # it need not answer queries to be asked for objects; what stands in the way is told then
    return [uid for uid in dict.fromkeys(studies.text(one, "SOPClassUID") for one in images) if uid]


async def _follow(steps: AsyncGenerator[Retrieved, None]) -> Retrieved:
    """Show how far it is, and return how it ended."""
    console = Console(stderr=True, highlight=False)
    last = None
    async with aclosing(steps):
        with console.status("asking") as shown:
            async for last in steps:
                left = "" if last.remaining is None else f", {last.remaining} to come"
                shown.update(f"{last.completed} sent{left}")
    if last is None:
        raise UpstreamError("the peer gave no answer")
    return last


def _tell(options: argparse.Namespace, ended: Retrieved, done: int, what: str, more: dict[str, Any]) -> int:
    is_nothing = ended.status == Status.SUCCESS and not (done or ended.failed or ended.warnings)
    is_well = ended.status == Status.SUCCESS and not ended.failed and not is_nothing
    if options.json:
        counts = {"completed": ended.completed, "failed": ended.failed, "warnings": ended.warnings, **more}
        print_json({"status": ended.status, "meaning": ended.said, **counts, "failed_uids": list(ended.failed_uids)})
    else:
        for uid in ended.failed_uids:
            print(f"not sent: {uid}", file=sys.stderr)
        failed = f", {ended.failed} failed" if ended.failed else ""
        said = "the peer has nothing of that, or nothing that we may see" if is_nothing else ended.said
        print(f"{what}{failed}; {said}")
    return 0 if is_well else EXIT_FAILED
