"""``nearframe viewer install``: the OHIF viewer, from its npm archive."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.errors import ConfigurationError
from nearframe.web import viewer

_PACKAGE = f"{viewer.OHIF_PACKAGE}@{viewer.OHIF_VERSION}"


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(subparsers, "viewer", what)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    install = add_parser(
        commands,
        "install",
        "fetch the viewer's archive, check its SHA-256 and unpack it",
        f"The archive is {_PACKAGE}; it is fetched with npm unless --archive names it.",
    )
    install.add_argument("--archive", type=Path, metavar="FILE", help="the archive, if it is here already")
    install.add_argument("--folder", type=Path, help="where to put it (default: below ~/.local/share/nearframe)")
    add_json_option(install)
    install.set_defaults(run=run_install)
    where = add_parser(commands, "where", "print the folder of the installed viewer")
    where.set_defaults(run=run_where)


def run_install(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="nearframe-viewer-") as scratch:
        archive = options.archive or _fetch(Path(scratch))
        folder = viewer.install(archive, options.folder)
    if options.json:
        print_json({"folder": str(folder), "version": viewer.OHIF_VERSION, "sha256": viewer.OHIF_SHA256})
    elif folder == viewer.installed():
        print(f"OHIF {viewer.OHIF_VERSION} is in {folder}; nodes started from now on serve it below {viewer.MOUNT}")
    else:
        print(f"OHIF {viewer.OHIF_VERSION} is in {folder}; nodes look for it in {viewer.default_folder()}")
    return 0


def run_where(options: argparse.Namespace) -> int:
    folder = viewer.installed()
    if folder is None:
        raise ConfigurationError("the viewer is not installed; run: nearframe viewer install")
    print(folder)
    return 0


def _fetch(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError(f"npm is not here to fetch {_PACKAGE}; install it, or give the archive with --archive")
    done = subprocess.run(  # noqa: S603 - npm as found on the path
        [npm, "pack", "--silent", _PACKAGE], cwd=folder, capture_output=True, text=True, check=False
    )
    found = list(folder.glob("*.tgz"))
    if done.returncode or not found:
        raise ConfigurationError(f"npm could not fetch {_PACKAGE}: {done.stderr.strip()[-300:]}")
    return found[0]
