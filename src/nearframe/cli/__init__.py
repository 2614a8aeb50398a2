"""The command line: one file per subcommand, each with `add_subparser`.

Exit codes: 0 done; 1 done, and something is not as it should be (or an unexpected
failure); 2 the caller must change something; 3 try again later.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nearframe import __version__, log
from nearframe.cli import conflicts, demo, edge, import_, origin, report, scrub, study, sync, tls, version, viewer
from nearframe.errors import NearframeError

_COMMANDS = (
    demo,
    origin,
    edge,
    import_,
    study,
    sync,
    conflicts,
    report,
    scrub,
    tls,
    viewer,
    version,
)

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; docs and completion are made from it too."""
    parser = argparse.ArgumentParser(
        prog="nearframe",
        description="Edge-first medical imaging: an archive, and edges that move only the frames that changed.",
        epilog="Exit codes: 0 done, 1 something is not as it should be, 2 change the command, 3 try again later.",
    )
    parser.add_argument("--version", action="version", version=f"nearframe {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_subparser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
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
