"""``nearframe version``: what runs here."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version

from nearframe import __version__
from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json

_SHOWN = ("cryptography", "granian", "imagecodecs", "lmdb", "numpy", "pydicom", "SQLAlchemy", "starlette", "zstandard")


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(subparsers, "version", what)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    versions = {"nearframe": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in _SHOWN}
    if options.json:
        print_json(versions)
    else:
        for name, number in versions.items():
            print(f"{name:14} {number}")
    return 0
