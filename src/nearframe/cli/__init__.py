"""The command line: one file per subcommand, each with `add_subparser`.

Exit codes: 0 done; 1 done, and something is not as it should be (or an unexpected
failure); 2 the caller must change something; 3 try again later.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Any, Final

from nearframe import __version__, log
from nearframe.cli._parser import Parser
from nearframe.errors import NearframeError

#: What each command is for.
COMMANDS: Final = {
    "demo": "start an origin and an edge, and play the main job on real studies",
    "origin": "run an origin: the archive",
    "edge": "run an edge: follows its upstream, serves what it holds",
    "import": "send DICOM files, or what another archive has, to a server",
    "export": "write studies to folders, zip files or media, as they are or de-identified",
    "push": "send studies of a node to another DICOMweb server",
    "study": "look at the studies of a node",
    "dicom": "talk to a DICOM peer: echo, send, find, get, move, worklist, commit",
    "hl7": "send HL7 messages, and see how a node answered those it got",
    "sync": "bring a study into a folder, as files",
    "conflicts": "see and settle what came with other pixels, or under an identifier that was merged away",
    "correct": "correct attributes, merge patients, move, split and delete; and undo",
    "retention": "see and delete what was kept long enough",
    "hold": "keep studies and patients from being deleted: legal holds",
    "report": "see what an archive holds",
    "scrub": "read and prove everything that is stored",
    "doctor": "say what is wrong with a node, and what to do",
    "backup": "keep what an archive holds now, beside the node that serves it",
    "restore": "bring an archive back from a backup",
    "migrate": "make a catalogue what another release knows, or carry it into PostgreSQL",
    "tls": "make certificates for development",
    "viewer": "install the OHIF viewer that every node can serve",
    "version": "print the versions of nearframe and of what it runs on",
}

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130


def build_parser(asked: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line; docs and completion are made from it too.

    Parameters
    ----------
    asked
        The one command to describe in full, or "" for none: each brings what it stands on, and a
        node is to start without a demonstration's. None for all.
    """
    parser = Parser(
        prog="nearframe",
        description="Edge-first medical imaging: an archive, and edges that move only the frames that changed.",
        epilog="Exit codes: 0 done, 1 something is not as it should be, 2 change the command, 3 try again later.",
    )
    parser.add_argument("--version", action="version", version=f"nearframe {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        if asked in (None, name):
            _module(name).add_subparser(subparsers, what)
        else:
            subparsers.add_parser(name, help=what)
    return parser


def _module(name: str) -> Any:
    """Return the module of a command; ``import`` is no name a module can have."""
    return import_module(f"nearframe.cli.{name}{'_' if iskeyword(name) else ''}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = build_parser(arguments[0] if arguments else "").parse_args(arguments)
    try:
        code: int = options.run(options)
    except NearframeError as error:
        print(f"nearframe: {log.blank(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`nearframe study list | head`): nothing to say.
        sys.stderr.close()
        return 0
    return code
