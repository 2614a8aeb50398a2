"""The parser of every command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

_REPEATED = ("*", "+")


class Parser(argparse.ArgumentParser):
    """Takes what a command is about wherever it stands among the options, and says of which command something is wrong.

    By itself argparse is done with words that may repeat before the first option that follows: with none of them in
    ``correct move STUDY --to-new NAME=VALUE``, with one in ``import PATH --to URL PATH``.
    """

    # argparse declares this with overloads that differ by the type of the namespace alone.
    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        found, left = super().parse_known_args(args, namespace)
        if self._subparsers is not None:
            return found, left
        repeated = next((one for one in self._actions if not one.option_strings and one.nargs in _REPEATED), None)
        if left and (repeated is None or any(word.startswith("-") for word in left)):
            self.error(f"unrecognized arguments: {' '.join(left)}")
        if repeated is not None and left:
            read = repeated.type if callable(repeated.type) else str
            setattr(found, repeated.dest, [*getattr(found, repeated.dest), *map(read, left)])
        return found, []
