"""Values, as commands read and show them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

_SHOWN_REASON_CHARS: Final = 60


def at_least(least: int) -> Callable[[str], int]:
    """Return the type of an option that is a whole number, `least` or more."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}")
        return int(text)

    return read


def moment(time: str) -> str:
    """Shorten a time of RFC 3339 to what a table shows of it: to the second, without the offset of UTC."""
    return time[:19].replace("T", " ")


def brief(reason: str) -> str:
    """Shorten what somebody gave as a reason to what a table has room for."""
    return reason[:_SHOWN_REASON_CHARS]
